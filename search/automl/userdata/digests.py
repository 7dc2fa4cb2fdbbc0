"""Hashes that tell one set of weights, and one set of data, from another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from automl.userdata.data import Data
from automl.userdata.inputs import Coded


class _Hash(Protocol):
    def update(self, data: Any, /) -> None: ...


def weights_digest(model: nn.Module) -> str:
    """Hash of the names, kinds and values of a model's state dict; 64 hexadecimal digits."""
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(f"{name}:".encode())
        _add(found, value)
    return found.hexdigest()


def data_digest(data: Data) -> str:
    """Hash of all that scores depend on; 64 hexadecimal digits.

    That is the calibration inputs, and the validation inputs with their targets, as they are cut
    into batches. Of a target that is no tensor, array, text, number, or a mapping or sequence of
    these, only its type counts.
    """
    found = hashlib.sha256()
    _add(found, [inputs for inputs, _ in data.calibration.pairs])
    _add(found, data.validation.pairs)
    return found.hexdigest()


def _add(found: _Hash, value: Any) -> None:
    """Add a value by its content: what holds the same adds the same in every process."""
    match value:
        case Coded():
            _add(found, value[:])
        case torch.Tensor():
            found.update(f"{value.dtype} {tuple(value.shape)};".encode())
            found.update(_bytes(value))
        case np.ndarray() if value.dtype == object:
            _add(found, value.tolist())
        case np.ndarray():
            found.update(f"{value.dtype} {value.shape};".encode())
            found.update(np.ascontiguousarray(value).tobytes())
        case str() | bytes() | bool() | int() | float() | complex() | None | np.generic():
            found.update(f"{type(value).__name__} {value!r};".encode())
        case Mapping():
            found.update(f"{type(value).__name__} {len(value)};".encode())
            for key, held in value.items():
                _add(found, key)
                _add(found, held)
        case Sequence():
            found.update(f"{type(value).__name__} {len(value)};".encode())
            for held in value:
                _add(found, held)
        case _:
            found.update(f"{type(value).__module__}.{type(value).__qualname__};".encode())


def _bytes(value: torch.Tensor) -> bytes:
    """A tensor's values; of types that numpy lacks, such as bfloat16, too."""
    plain = value.detach().to("cpu").to_dense().resolve_conj().resolve_neg().contiguous()
    plain = plain.reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes()
