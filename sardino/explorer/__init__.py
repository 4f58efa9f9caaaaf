"""The explorer: click a patch and see where it attends."""
