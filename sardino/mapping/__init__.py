"""Maps of whole scenes: a model of square windows over a raster of any size, in flat memory, stopped and gone on."""
