"""How inputs lie in memory: channels last, where a network runs the same operations on them.

torch's convolutions and poolings are some two times as quick so on CPUs (docs/measured.md). What
they write lies as what they read, so that nothing but a network's inputs is laid out. A network
that asks for views of its values may run other operations then, or none: it is left as it is.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from automl.errors import Raised, attempt
from automl.network.recorded import Trace
from automl.network.trace import record

Tensor = torch.Tensor
#: The note on a network that its inputs may lie so. Copies of it have it too.
_NOTE: Final = "_automl_channels_last"
#: Largest difference of the outputs, relative to their largest number.
_ALIKE: Final = 1e-4


def note_layout(model: nn.Module, trace: Trace, example: Tensor) -> None:
    """Leave a note on a network which computes the same of inputs whose channels lie last.

    Args:
        model: In evaluation mode.
        trace: What it did on the example.
        example: An input, batch 1.
    """
    if example.dim() != 4:
        return
    other = attempt(lambda: record(model, _channels_last(example), labelled=False))
    if isinstance(other, Raised) or not other.runs_as(trace):
        return
    with torch.no_grad():
        if _alike(model(example), model(_channels_last(example))):
            setattr(model, _NOTE, True)


def forget_layout(model: nn.Module) -> None:
    """Take the note away, where there is one."""
    vars(model).pop(_NOTE, None)


def pass_layout_on(model: nn.Module, other: nn.Module) -> None:
    """Leave the note of a network on what runs it on inputs of its own."""
    if getattr(model, _NOTE, False):
        setattr(other, _NOTE, True)


def runs_alike(part: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a part runs the same operations on inputs of a shape whose channels lie last."""
    if len(shape) != 4:
        return True
    held, inputs = nn.Sequential(part), torch.zeros(shape)
    usual = attempt(lambda: record(held, inputs, labelled=False))
    other = attempt(lambda: record(held, _channels_last(inputs), labelled=False))
    return not (isinstance(usual, Raised) or isinstance(other, Raised)) and other.runs_as(usual)


def laid_out(model: object, inputs: Tensor) -> Tensor:
    """Inputs as they are best shown to a network: copied where they lie otherwise."""
    if inputs.dim() != 4:
        return inputs
    return _channels_last(inputs) if getattr(model, _NOTE, False) else inputs.contiguous()


def _channels_last(inputs: Tensor) -> Tensor:
    return inputs.contiguous(memory_format=torch.channels_last)


def _alike(usual: Any, other: Any) -> bool:
    """Whether outputs are the same up to the order of their sums."""
    pairs = zip(tree_leaves(usual), tree_leaves(other), strict=True)
    return all(_near(*pair) for pair in pairs)


def _near(usual: Any, other: Any) -> bool:
    if not isinstance(usual, Tensor):
        return bool(usual == other)
    most = float(usual.abs().max()) if usual.is_floating_point() and usual.numel() else 0.0
    return torch.allclose(usual, other, rtol=0.0, atol=_ALIKE * most)
