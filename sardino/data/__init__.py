"""Sentinel-1 tiles, without torch: places, rasters, stores, and the sources that fill them."""
