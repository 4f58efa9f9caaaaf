"""Tiles: their grid, radiometry, legends, and the store that holds them."""
