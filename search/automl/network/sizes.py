"""Sizes that a module's forward asks for and names, kept right when its channels are cut.

Attention names the number and the width of its heads (`reshape(b, n, 3, heads, width)`), often as
attributes that no layer holds. A cut module runs its forward as it is written, but for the calls
noted here: sizes that it asks for are the dense network's, those that it names are translated to
what is left, and the scale of an attention stays that of the dense heads.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import CodeType, FrameType
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from automl.network.heads import Heads
from automl.network.parted import (
    PartedView,
    forget_views,
    lay_out,
    note_view,
    stretch_of,
    views_of,
)
from automl.network.picking import (
    forget_picks,
    is_pick,
    left_of_pick,
    note_pick,
    pick_of,
    picks_of,
    take,
)
from automl.network.stretches import Stretches, sliced_dims, stretches_of
from automl.network.translations import TRANSLATIONS, Extents, dense_sizes

Tensor = torch.Tensor
#: How sizes come into a call: asked for, named for the output, for parts of it or for what is
#: normalised, or as a scale.
_KINDS: Final[dict[Any, str]] = {
    torch.Tensor.size: "asked",
    torch.Tensor.shape.__get__: "asked",  # type: ignore[attr-defined]
    torch.Tensor.view: "named",
    torch.Tensor.reshape: "named",
    torch.reshape: "named",
    torch.Tensor.expand: "named",
    torch.Tensor.unflatten: "unflattened",
    torch.unflatten: "unflattened",
    torch.Tensor.split: "split",
    torch.split: "split",
    torch.Tensor.chunk: "chunk",
    torch.chunk: "chunk",
    torch.Tensor.tensor_split: "tensor_split",
    torch.tensor_split: "tensor_split",
    torch.Tensor.narrow: "narrow",
    torch.narrow: "narrow",
    torch.Tensor.__getitem__: "taken",
    F.layer_norm: "normed",
    torch.layer_norm: "normed",
    F.rms_norm: "normed",
    torch.rms_norm: "normed",
    F.scaled_dot_product_attention: "scale",
}
#: What names channels by itself, in heads or not.
_SPLITS: Final = ("split", "chunk", "tensor_split")
_PARTED: Final = (*_SPLITS, "narrow", "taken", "normed", "picked", "parted")
#: What runs in the place of each of `_SPLITS`, with the length of each part.
_IN_PARTS: Final[Any] = torch.Tensor.split
_SIDE: Final = "size"
_CALL: Final = nn.Module._call_impl.__code__


def size_side(call: int, dim: int, extent: int) -> str:
    """The side of a module along a dimension of one of its calls that has to do with sizes."""
    return f"{_SIDE} {call} {dim} {extent}"


def is_size(side: str) -> bool:
    """Whether a side is one of those."""
    return side.startswith(f"{_SIDE} ")


def parse_size(side: str) -> tuple[int, int, int]:
    """Call, dimension and extent."""
    call, dim, extent = map(int, side.split()[1:])
    return call, dim, extent


class SizeCalls(TorchFunctionMode):
    """Tells of the calls inside it that have to do with sizes.

    Args:
        note: Given how sizes come into it, the value whose dimensions they are, stretches, and the
            index by which it takes.
    """

    def __init__(self, note: Callable[[str, Tensor, Stretches, Tensor | None], None]) -> None:
        super().__init__()
        self._note = note

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        kind = _kind(func, args)
        if kind == "picked":
            pick = pick_of(func, args, kwargs or {})
            whole = () if pick is None else ((0, pick.dim, 0, args[0].size(pick.dim)),)
            self._note(kind, args[0], whole, None if pick is None else pick.index)
        elif kind is not None:
            value = output if kind in ("named", "unflattened") else args[0]
            self._note(kind, value, stretches_of(kind, args, kwargs or {}, output), None)
        return output


@dataclass(frozen=True, slots=True)
class SizeCall:
    """A call that has to do with sizes, within a module's own forward.

    Attributes:
        module: Name of the module.
        call: How many such calls it made before.
        kind: How sizes come into it.
        labels: Labels of the value whose dimensions they are.
        stretches: What of it is named.
        index: What is taken along it, where that is by a constant index.
        value: The number of the value whose dimensions they are; None of one of constants.
        view: How it lays out parts that are taken apart, where it does.
    """

    module: str
    call: int
    kind: str
    labels: Tensor
    stretches: Stretches
    index: Tensor | None = None
    value: int | None = None
    view: PartedView | None = None


class SizeNotes:
    """What modules ask for and name in a recorded pass."""

    def __init__(self) -> None:
        self.calls: list[SizeCall] = []
        self._translated: set[str] = set()
        self._counts: Counter[str] = Counter()

    def begin(self, module: str) -> None:
        """A module's forward begins."""
        self._counts[module] = 0

    def note(self, call: SizeCall) -> None:
        """A call of a module's own forward."""
        self.calls.append(replace(call, call=self._counts[call.module]))
        self._counts[call.module] += 1

    def lay_out(self, number: int, view: PartedView) -> None:
        """A call lays out parts, each of which may lose channels of its own."""
        whole, rank = self.calls[number], self.calls[number].labels.dim()
        self.calls[number] = replace(whole, kind="parted", stretches=(), view=view)
        for part in range(view.count):
            stretches = tuple(
                (stretch_of(part, dim, rank), dim, 0, extent)
                for dim, extent in enumerate(view.shape, view.first)
                if dim != view.dim
            )
            labels = whole.labels.narrow(view.dim, part, 1)
            self.calls.append(replace(whole, kind="parted", labels=labels, stretches=stretches))

    def note_on(self, model: nn.Module) -> None:
        """Leave a note on modules what they take by constant indices, and lay out in parts.

        Calls are counted from now on as in this pass.
        """
        for module in model.modules():
            forget_picks(module)
            forget_views(module)
            before = vars(module).get("forward")
            if isinstance(before, SizedForward):
                before.sealed = True
        for each in self.calls:
            if each.index is not None:
                note_pick(model.get_submodule(each.module), each.call, each.index)
            if each.view is not None:
                note_view(model.get_submodule(each.module), each.call, each.view)

    def relabel(self, number: int, labels: Tensor | None) -> None:
        """Labels of a call's value, where they are known only in the end."""
        if labels is not None:
            self.calls[number] = replace(self.calls[number], labels=labels)

    def lines(self, heads: Heads) -> Iterator[tuple[tuple[str, int, int], Tensor]]:
        """Labels along what is named in modules that lay channels out in heads or in parts.

        Each with the name of the module, the number of the call, and the stretch. Other modules
        need no translation as long as they name what they asked for before (`translate`).
        """
        found = self._named(heads)
        needing = self._translated | {
            key[0]
            for key, line, kind in found
            if kind in _PARTED or (kind != "asked" and heads.has(line))
        }
        return ((key, line) for key, line, _ in found if key[0] in needing)

    def translate(self, heads: Heads, roots: Collection[int]) -> bool:
        """Translate also in modules that name how many there are of these classes of channels.

        Returns whether there are any that did not before.
        """
        before = len(self._translated)
        for (module, _, _), line, kind in self._named(heads):
            if kind != "asked" and not set(roots).isdisjoint(heads.union.roots(line).tolist()):
                self._translated.add(module)
        return len(self._translated) > before

    def _named(self, heads: Heads) -> list[tuple[tuple[str, int, int], Tensor, str]]:
        return [
            ((each.module, each.call, stretch), line[start:stop], each.kind)
            for each in self.calls
            for stretch, dim, start, stop in each.stretches
            if (line := heads.slices(each.labels, dim)) is not None
            if bool(line[start:stop].any())
        ]


class SizedForward:
    """The forward of a cut module, in the place of its own.

    Args:
        module: The module.
        extents: Per call that has to do with sizes, in their order within its own forward.
        forward: Its own forward.
        picks: Per call that takes by a constant index, what is left of that.

    Attributes:
        sealed: Whether a pass through it was recorded: what is cut from now on is told by that.
    """

    def __init__(
        self,
        module: nn.Module,
        extents: Mapping[int, Extents],
        forward: Callable[..., Any],
        picks: Mapping[int, Tensor],
    ) -> None:
        self.module, self.extents, self.forward = module, extents, forward
        self.picks, self.views, self.sealed = picks, views_of(module), False

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.forward)

    @property
    def __code__(self) -> CodeType:  # torch's export says where a whole model's forward is
        found: CodeType = self.forward.__code__
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        with _Translated(self):
            return self.forward(*args, **kwargs)


def set_sizes(module: nn.Module, stays: Mapping[int, Mapping[int, tuple[int, Tensor]]]) -> None:
    """Have a cut module translate sizes, in place; one that does so already goes on from there.

    Args:
        module: The module.
        stays: Per call and stretch, how many channels there were, and which of them stay.
    """
    before = vars(module).get("forward")
    extents: dict[int, Extents] = {
        call: {at: (dense, kept.numel()) for at, (dense, kept) in each.items()}
        for call, each in stays.items()
    }
    picks, forward = {**picks_of(module)}, module.forward
    if isinstance(before, SizedForward) and not before.sealed:
        picks, forward = {**before.picks}, before.forward
        extents = _cut_on(before.extents, extents)
    for call in picks.keys() & stays.keys():
        ((extent, positions),) = stays[call].values()
        picks[call] = left_of_pick(picks[call], extent, positions)
    module.forward = SizedForward(module, extents, forward, picks)


def _cut_on(before: Mapping[int, Extents], after: Mapping[int, Extents]) -> dict[int, Extents]:
    """What is left of the dense sizes where what was left of them is cut once more."""
    found: dict[int, Extents] = {}
    for call in before.keys() | after.keys():
        first = before.get(call, {})
        again = {
            at: (first.get(at, (dense,))[0], left)
            for at, (dense, left) in after.get(call, {}).items()
        }
        found[call] = {**first, **again}
    return found


class _Translated(TorchFunctionMode):
    def __init__(self, sized: SizedForward) -> None:
        super().__init__()
        self._sized, self._count = sized, 0

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, kind = kwargs or {}, _kind(func, args)
        if kind is None or not is_own_call(self._sized.module):
            return func(*args, **kwargs)
        number, self._count = self._count, self._count + 1
        extents = self._sized.extents.get(number)
        if extents is None:
            return func(*args, **kwargs)
        if kind == "asked":
            return dense_sizes(func(*args, **kwargs), args, kwargs, extents)
        if kind == "picked":
            found, named = take(func, args, kwargs, self._sized.picks[number])
            return func(*found, **named)
        view = self._sized.views.get(number)
        if view is not None:
            return lay_out(view, kind, args, kwargs, extents)
        found, named = TRANSLATIONS[kind](list(args), dict(kwargs), extents)
        return (_IN_PARTS if kind in _SPLITS else func)(*found, **named)


def is_own_call(module: nn.Module) -> bool:
    """Whether the code that runs is a module's own, not that of one inside it."""
    owner = owner_of_call()
    return owner is not None and owner.__dict__ is module.__dict__


def owner_of_call() -> nn.Module | None:
    """The module whose code runs; None outside of all."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not _CALL:
        frame = frame.f_back
    return None if frame is None else frame.f_locals["self"]


def _kind(func: Any, args: Sequence[Any]) -> str | None:
    """How sizes come into a call; an index that slices nothing has none."""
    if is_pick(func, args):
        return "picked"
    kind = _KINDS.get(func)
    if kind == "taken" and not sliced_dims(args[1], args[0].dim()):
        return None
    return kind
