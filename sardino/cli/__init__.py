"""The command line: one verb per thing to do."""
