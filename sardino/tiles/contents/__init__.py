"""What tiles hold: shares, mosaics, checks, packages."""
