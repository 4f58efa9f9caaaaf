"""Chips from a folder of files, described by a specification."""
