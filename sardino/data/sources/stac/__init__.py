"""Chips from a STAC catalogue."""
