"""`python -m automl` is the command `automl`."""

from automl.cli.main import run

run()
