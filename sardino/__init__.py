"""sardino: DINO self-supervision on Sentinel-1, as a compendium that can be rerun."""

__version__ = "0.1.0"
