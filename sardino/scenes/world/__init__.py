"""The synthetic world: geography, backscatter and sensor from a seed."""
