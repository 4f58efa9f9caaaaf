"""STAC catalogues: search, read, label."""
