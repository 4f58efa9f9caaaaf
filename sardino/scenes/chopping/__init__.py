"""Cutting scenes in hand into tiles: rasters, interferograms, seasonal coherence."""
