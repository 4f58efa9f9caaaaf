"""Weights on disk, with a card that says what they are."""
