"""Files of pixels: what they mean, warped, chopped, mosaicked, verified, shared."""
