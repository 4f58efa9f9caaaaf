"""Folders of real chips, described by a TOML specification."""
