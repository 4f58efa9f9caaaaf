"""The synthetic Sentinel-1 world."""
