"""What a tile is: radiometry, land-cover legends, grid, splits and the store."""
