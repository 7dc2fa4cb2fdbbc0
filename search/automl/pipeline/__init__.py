"""What the command and Python callers run: search, apply, verify, profile."""

from automl.pipeline.finishing import apply, verify
from automl.pipeline.front import search_front
from automl.pipeline.measure_loop import search
from automl.pipeline.profiling import profile

__all__ = ["apply", "profile", "search", "search_front", "verify"]
