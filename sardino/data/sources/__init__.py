"""Where chips come from: the synthetic world, folders, STAC, Earth Engine, archives."""
