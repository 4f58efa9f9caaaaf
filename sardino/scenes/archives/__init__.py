"""What geetiles, sartiles and M3LEO left on disk or on the hub."""
