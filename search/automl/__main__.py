"""`python -m automl` is the command `automl`."""

from automl.cli import run

run()
