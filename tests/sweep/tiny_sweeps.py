"""What sweeps over the tiny model are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from automl.sweep.recipe import Recipe

TINY = Path(__file__).resolve().parents[1] / "pipeline" / "tiny.py"
#: What every search over the tiny model is given.
COMMON: dict[str, Any] = {
    "model": f"{TINY}:model",
    "data": f"{TINY}:loaders",
    "score": f"{TINY}:agreement",
    "round_to": 4,
    "resolutions": [12, 16],
    "trials": 3,
}

MakeRecipe = Callable[..., Recipe]
