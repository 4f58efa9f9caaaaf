"""Archives of tiles that others published."""
