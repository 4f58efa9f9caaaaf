"""Chips from Google Earth Engine."""
