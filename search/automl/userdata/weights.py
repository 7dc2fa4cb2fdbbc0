"""The user's weights: a state dict in a file, loaded only where it fits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from automl.documents import files_beside, shown
from automl.errors import ModelError, nearest
from automl.userdata.objects import call_user
from automl.userdata.weight_files import read_weights

Tensor = torch.Tensor

#: What torch's wrappers put before the names of a model's parts.
_PREFIXES: Final = ("module.", "_orig_mod.")
#: What training scripts keep a state dict under, likeliest first.
_KEYS: Final = (
    *("state_dict", "model_state_dict", "model_state", "model", "network", "net", "module"),
    *("weights", "params", "parameters", "state"),
)
_DEEPEST: Final = 8  # mappings within each other; a pickle may hold one in itself
_SHOWN, _LONGEST = 3, 200  # names, and characters of each


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict into `model`, in place.

    It may lie under a key such as "state_dict" or "model", one within the other, among other things
    that a training script keeps; prefixes of torch's wrappers, and one that all names share, are
    stripped. Nothing is unpickled but tensors and plain values.

    Raises:
        ModelError: No such file, not a state dict, keys or shapes that differ, or tensors without
            numbers that the model could have; what to do is said.
    """
    if not os.path.lexists(path):
        raise ModelError(f"there is no weights file {path}{nearest(path.name, files_beside(path))}")
    expected = model.state_dict()
    state = _named(_state_dict(read_weights(path), path), expected, path)
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    for name, value in state.items():
        reason = _unusable(value, expected[name]) if name in expected else ""
        if reason:
            raise ModelError(f"{path}: {shown(name)[1:-1]} {reason}")
    mismatch = _mismatch(expected, tensors)
    if mismatch:
        raise ModelError(f"{path} does not fit the model: {mismatch}")
    failing = f"{path} cannot be loaded into the model"
    call_user(lambda: model.load_state_dict(tensors, strict=False), failing, ModelError)


def _state_dict(stored: Any, path: Path) -> dict[str, Any]:
    """The mapping of tensors that is in what a file holds."""
    for _ in range(_DEEPEST):
        if not isinstance(stored, Mapping):
            break
        found = next((key for key in _KEYS if isinstance(stored.get(key), Mapping)), None)
        if found is None:
            if any(isinstance(value, Tensor) for value in stored.values()):
                return {str(key): value for key, value in stored.items()}
            found = _only(stored, path)
        if found is None:
            break
        stored = stored[found]
    raise ModelError(f"{path} holds {_described(stored)}, expected a state dict of tensors")


def _only(stored: Mapping[Any, Any], path: Path) -> Any:
    """The key of the one mapping of tensors among other things; None where there is none."""
    likely = [
        key
        for key, value in stored.items()
        if isinstance(value, Mapping) and any(isinstance(each, Tensor) for each in value.values())
    ]
    if len(likely) > 1:
        names = " and ".join(shown(key) for key in likely[:_SHOWN])
        raise ModelError(f"{path} holds several state dicts, {names}: save the one of this model")
    return likely[0] if likely else None


def _described(stored: Any) -> str:
    if isinstance(stored, Mapping):
        keys = ", ".join(shown(key) for key in list(stored)[:_SHOWN])
        return f"a {type(stored).__name__} without tensors in it ({keys or 'empty'})"
    return f"a {type(stored).__name__}"


def _named(found: Mapping[str, Any], expected: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Entries by the names that the model has, as far as these can be told."""
    result: dict[str, Any] = {}
    for key, value in found.items():
        name = _unwrapped(key)
        if not isinstance(value, Tensor) and name not in expected:
            continue  # epochs, settings and the like beside the tensors
        if name in result:
            raise ModelError(f"{path} has {shown(name)} twice, with a wrapper's prefix and without")
        result[name] = value
    first = next(iter(result), "").partition(".")[0] + "."
    if result.keys() & expected.keys() or not all(name.startswith(first) for name in result):
        return result
    bare = {name.removeprefix(first): value for name, value in result.items()}
    return bare if bare.keys() <= expected.keys() else result


def _unusable(value: Any, expected: Any) -> str:
    """Why a value cannot be one of the model's, and what to do; "" where it can."""
    if not isinstance(value, Tensor):
        return f"is a {type(value).__name__}, expected a tensor: save the model's state_dict()"
    if value.is_meta:
        return "is on the meta device, which has no numbers: save a model that is loaded"
    if value.is_quantized:
        return f"is quantised ({_kind(value)}): give the weights of floats it was made from"
    if value.is_nested or value.layout is not torch.strided:
        layout = "nested" if value.is_nested else "sparse"
        return f"is {layout}, not dense: save it as a plain tensor, as .to_dense() gives of sparse"
    if not isinstance(expected, Tensor):
        return ""
    if value.is_complex() and not expected.is_complex():
        return f"is {_kind(value)}, the model's is {_kind(expected)}: it has no complex numbers"
    if expected.is_floating_point() and not value.is_floating_point():
        return (
            f"is {_kind(value)}, the model's is {_kind(expected)}: give weights of floats, not"
            " integers that stand for them"
        )
    return ""


def _kind(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _mismatch(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> str:
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
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            parts.append(title + ", ".join([each[:_LONGEST] for each in keys[:_SHOWN]]) + more)
    return "; ".join(parts)


def _unwrapped(key: str) -> str:
    """A name without the prefixes of the wrappers around the model."""
    for prefix in _PREFIXES * 2:  # compiled and parallel, either around the other
        key = key.removeprefix(prefix)
    return key.replace("._orig_mod.", ".")
