"""Forward passes of so many inputs at a time that what the network holds inside stays small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn

from automl.network import judged_tensors, laid_out

Tensor = torch.Tensor
#: What a network gives: one tensor, or several by name.
Outputs = Tensor | dict[str, Tensor]
#: Bytes of inputs that go through a network together: the values inside are some 25 times as many,
#: and twice that where they are rounded or kept for the next pass.
_BYTES: Final = 4 << 20
#: Most rows that do: of a few words, or numbers, values of many times their size may be made.
_ROWS: Final = 256


def fitting(inputs: Tensor) -> int:
    """How many inputs such as these may go through a network together."""
    most = max(1, _BYTES // max(1, inputs[:1].numel() * inputs.element_size()))
    return most if inputs.dim() > 2 else min(most, _ROWS)


def in_passes(model: Callable[[Tensor], Any], inputs: Tensor) -> Outputs:
    """A network's outputs, whatever the number of inputs; of few in one pass.

    Of a network that gives more than one tensor those by name that hold floats for each input.
    A module is shown them as they had best lie for it, any other callable as they lie.
    """
    parts = inputs.split(fitting(inputs))
    shown = [laid_out(model, part) for part in parts] if isinstance(model, nn.Module) else parts
    passes = [model(part) for part in shown]
    if isinstance(passes[0], Tensor):
        return passes[0] if len(passes) == 1 else torch.cat(passes)
    named = [judged_tensors(each, len(part)) for each, part in zip(passes, parts, strict=True)]
    return {name: torch.cat([each[name] for each in named]) for name in named[0]}
