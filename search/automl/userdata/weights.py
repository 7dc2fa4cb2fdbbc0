"""The user's weights: a state dict in a file, loaded only where it fits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from automl.errors import ModelError, nearest
from automl.userdata.objects import call_user

#: What torch's wrappers put before the names of a model's parts.
_PREFIXES: Final = ("module.", "_orig_mod.")


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict into `model`, in place.

    A dict under "state_dict" or "model" is taken, and prefixes of torch's wrappers are stripped.

    Raises:
        ModelError: No such file, not a state dict, or keys or shapes that differ.
    """
    if not path.is_file():
        there = [each.name for each in path.parent.glob("*.*")] if path.parent.is_dir() else []
        raise ModelError(f"there is no weights file {path}{nearest(path.name, there)}")
    stored = call_user(
        lambda: torch.load(path, map_location="cpu", weights_only=True),
        f"{path} cannot be read as a state dict",
        ModelError,
    )
    state = _state_dict(stored, path)
    mismatch = _mismatch(model.state_dict(), state)
    if mismatch:
        raise ModelError(f"{path} does not fit the model: {mismatch}")
    model.load_state_dict(state, strict=False)


def _state_dict(stored: Any, path: Path) -> dict[str, torch.Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    if not isinstance(stored, Mapping) or not any(
        isinstance(value, torch.Tensor) for value in stored.values()
    ):
        raise ModelError(
            f"{path} holds a {type(stored).__name__}, expected a state dict of tensors"
        )
    tensors = {str(k): v for k, v in stored.items() if isinstance(v, torch.Tensor)}
    return {_unwrapped(key): value for key, value in tensors.items()}


def _mismatch(
    expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], shown: int = 3
) -> str:
    """The first keys that are missing, unexpected or of another shape; "" when all fit."""
    # batch norms count their batches only for a momentum of None; old files lack the count
    missing = [k for k in expected if k not in found and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in found if k not in expected]
    reshaped = [
        f"{k} is {tuple(found[k].shape)}, the model has {tuple(value.shape)}"
        for k, value in expected.items()
        if k in found and found[k].shape != value.shape
    ]
    parts = []
    for title, keys in (
        ("missing ", missing),
        ("unexpected ", unexpected),
        ("wrong shape: ", reshaped),
    ):
        if keys:
            more = f" and {len(keys) - shown} more" if len(keys) > shown else ""
            parts.append(title + ", ".join(keys[:shown]) + more)
    return "; ".join(parts)


def _unwrapped(key: str) -> str:
    """A name without the prefixes of the wrappers around the model."""
    for prefix in _PREFIXES * 2:  # compiled and parallel, either around the other
        key = key.removeprefix(prefix)
    return key.replace("._orig_mod.", ".")
