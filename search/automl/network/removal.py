"""Leaving parts of a network out: what stands in the place of a block, a branch or a layer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from automl.network.bypass import Bypass, Ends
from automl.network.forward_tracer import base_kind
from automl.network.outputs import Here
from automl.network.recorded import Trace

Tensor = torch.Tensor
#: Attribute of a part: how what stands in its place is made.
_NOTE: Final = "_in_its_place"


class Passage(nn.Module):
    """Hands on one of the tensors that it is called with, in the form in which a block gives it.

    Args:
        place: Where that tensor stands among the leaves of (args, kwargs).
        form: What the block gives, with a `Here` for the tensor.
    """

    def __init__(self, place: int, form: Any) -> None:
        super().__init__()
        self._place, self._form = place, form

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The tensor, in its form."""
        value = tree_leaves((args, kwargs))[self._place]
        return tree_map(lambda leaf: value if isinstance(leaf, Here) else leaf, self._form)


class Nothing(nn.Module):
    """Gives zero, which runtimes drop from a sum, in the form in which a branch gives its part.

    Args:
        form: What the branch gives, with a `Here` for the tensor.
    """

    zero: Tensor

    def __init__(self, form: Any) -> None:
        super().__init__()
        self._form = form
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Zero, in its form."""
        return tree_map(lambda leaf: self.zero if isinstance(leaf, Here) else leaf, self._form)


class Selection(nn.Module):
    """Hands on some channels, and zero in the place of others.

    Args:
        dim: Along which they lie.
        index: Where each channel that goes out comes in.
        present: Whether it does; else it is zero.
    """

    index: Tensor
    present: Tensor

    def __init__(self, dim: int, index: Tensor, present: Tensor) -> None:
        super().__init__()
        self._dim = dim
        self.register_buffer("index", torch.where(present, index, 0))
        self.register_buffer("present", present.float())

    def forward(self, values: Tensor) -> Tensor:
        """The channels that go out."""
        along = [1] * values.dim()
        along[self._dim] = -1
        there = self.present.to(values.dtype).view(along)
        return values.index_select(self._dim, self.index) * there


def note_bypasses(model: nn.Module, trace: Trace, parts: Mapping[str, Bypass]) -> None:
    """Leave a note on each part for `remove`, in place: how a value is handed on in its place."""
    for name, past in parts.items():
        signature = trace.signatures.get(name)
        note: tuple[Any, ...] | Ends | None = past.ends
        if signature is not None and past.kind == "branch":
            note = (Nothing, signature.form)
        elif signature is not None and not signature.plain:
            place = signature.places[trace.modules[name][0].index(past.enters)]
            note = (Passage, place, signature.form)
        if note is not None:
            setattr(model.get_submodule(name), _NOTE, note)


def remove(
    model: nn.Module,
    parts: frozenset[str],
    kept: Mapping[tuple[str, str], Tensor] = MappingProxyType({}),
    *,
    cut: bool = True,
) -> None:
    """Put what hands on their input in the place of parts, in place.

    Args:
        model: The network.
        parts: Names of what is left out.
        kept: Positions that stay along sides that lose some.
        cut: Whether channels were cut out; else those that would be are handed on as zeros.
    """
    for name in parts:
        module = model.get_submodule(name)
        note = getattr(module, _NOTE, None)
        if note is None and base_kind(module):
            note = Ends(name, name)
        if isinstance(note, Ends):
            made = _between(note, model, kept, cut)
        else:
            made = nn.Identity() if note is None else note[0](*note[1:])
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, made)


def _between(
    ends: Ends, model: nn.Module, kept: Mapping[tuple[str, str], Tensor], cut: bool
) -> nn.Module:
    """In place of a part whose two sides may have lost different channels."""
    reader, writer = (model.get_submodule(name) for name in (ends.reads, ends.writes))
    dim, whole = -1 if base_kind(reader) == "linear" else 1, torch.arange(_extent(reader, "in"))
    given = _stays(ends.reads, "in", kept)
    given = whole if given is None else given
    wanted = _stays(ends.writes, "out", kept)
    if cut:
        if wanted is None:
            wanted = torch.arange(_extent(writer, "out"))
        if torch.equal(given, wanted):
            return nn.Identity()
        index = torch.searchsorted(given, wanted).clamp(max=given.numel() - 1)
        return Selection(dim, index, given[index] == wanted)
    if torch.equal(given, whole):
        return nn.Identity()
    return Selection(dim, whole, torch.isin(whole, given))


def _stays(name: str, side: str, kept: Mapping[tuple[str, str], Tensor]) -> Tensor | None:
    """Positions that stay along a side of a layer, or of both where each channel is on its own."""
    return kept.get((name, side), kept.get((name, "through")))


def _extent(layer: Any, side: str) -> int:
    kind = "features" if base_kind(layer) == "linear" else "channels"
    return int(getattr(layer, f"{side}_{kind}"))
