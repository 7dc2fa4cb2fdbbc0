"""What the command and Python callers run: search, apply, verify, profile."""

from automl.pipeline.active import search
from automl.pipeline.finishing import apply, verify
from automl.pipeline.profiling import profile

__all__ = ["apply", "profile", "search", "verify"]
