"""Tables and claims, from records."""
