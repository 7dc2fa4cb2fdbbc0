"""What the command and Python callers run: search, apply, verify, profile."""

from automl.pipeline.finishing import apply, verify
from automl.pipeline.profiling import profile
from automl.pipeline.searching import search

__all__ = ["apply", "profile", "search", "verify"]
