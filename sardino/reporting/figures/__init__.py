"""Figures, from arrays and records."""
