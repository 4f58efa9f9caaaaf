"""`python -m sardino`: the command line, as torchrun starts it."""

from sardino.workflow.cli import app

app(prog_name="sardino")
