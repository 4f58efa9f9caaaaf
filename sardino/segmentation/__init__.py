"""Land cover from tokens, attention maps and images."""
