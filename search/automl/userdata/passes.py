"""Forward passes of so many inputs at a time that what the network holds inside stays small."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

Tensor = torch.Tensor
#: Bytes of inputs that go through a network together: the values inside are some ten times as many.
_BYTES: Final = 16 << 20


def fitting(inputs: Tensor) -> int:
    """How many inputs such as these may go through a network together."""
    return max(1, _BYTES // max(1, inputs[:1].numel() * inputs.element_size()))


def in_passes(model: nn.Module, inputs: Tensor) -> Tensor:
    """A network's outputs, whatever the number of inputs; of few in one pass."""
    parts = [model(part) for part in inputs.split(fitting(inputs))]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
