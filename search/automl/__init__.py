"""Hardware-aware compression search: the most accurate compressed model that meets a budget.

    import automl

    result = automl.search(model, (training, validation), target="cpu", budget="50%")
    smaller = automl.apply(result.policy, model, (training, validation)).model

Importing this package loads neither torch nor optuna: names are found when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automl.api import apply as apply
    from automl.api import search as search
    from automl.api import search_front as search_front
    from automl.api import verify as verify
    from automl.errors import AutomlError as AutomlError
    from automl.pipeline import SearchResult as SearchResult
    from automl.policy import Policy as Policy
    from automl.policy import PolicyFile as PolicyFile
    from automl.policy import read_policy as read_policy

__version__ = "0.1.0"

_HOMES = {
    "apply": "automl.api",
    "search": "automl.api",
    "search_front": "automl.api",
    "verify": "automl.api",
    "AutomlError": "automl.errors",
    "Policy": "automl.policy.policy",
    "PolicyFile": "automl.policy.file",
    "read_policy": "automl.policy.file",
    "SearchResult": "automl.pipeline.requests",
}

__all__ = [
    "AutomlError",
    "Policy",
    "PolicyFile",
    "SearchResult",
    "__version__",
    "apply",
    "read_policy",
    "search",
    "search_front",
    "verify",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'automl' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
