"""Earth Engine."""
