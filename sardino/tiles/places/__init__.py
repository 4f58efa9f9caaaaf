"""Where tiles lie: areas, partitions, splits, and what splits share."""
