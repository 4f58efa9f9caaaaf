"""`python -m sardino`: the command line, as torchrun starts it."""

from sardino.cli.app import app

app(prog_name="sardino")
