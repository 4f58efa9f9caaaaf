"""Where on Earth: areas, grids, splits that share no ground, leakage between them."""
