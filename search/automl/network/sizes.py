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
from automl.network.stretches import (
    Stretches,
    left_of,
    left_of_slice,
    sliced_dims,
    stretches_of,
)

Tensor = torch.Tensor
#: Per dimension or other stretch that a call names, how many channels it has in the dense network,
#: and how many are left.
Extents = Mapping[int, tuple[int, int]]
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
_PARTED: Final = ("split", "narrow", "taken", "normed")
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
        note: Given how sizes come into it, the value whose dimensions they are, and stretches.
    """

    def __init__(self, note: Callable[[str, Tensor, Stretches], None]) -> None:
        super().__init__()
        self._note = note

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        kind = _kind(func, args)
        if kind is not None:
            value = output if kind in ("named", "unflattened") else args[0]
            self._note(kind, value, stretches_of(kind, args, kwargs or {}, output))
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
    """

    module: str
    call: int
    kind: str
    labels: Tensor
    stretches: Stretches


class SizeNotes:
    """What modules ask for and name in a recorded pass."""

    def __init__(self) -> None:
        self.calls: list[SizeCall] = []
        self._translated: set[str] = set()
        self._counts: Counter[str] = Counter()

    def begin(self, module: str) -> None:
        """A module's forward begins."""
        self._counts[module] = 0

    def note(self, module: str, kind: str, labels: Tensor, stretches: Stretches) -> None:
        """A call of a module's own forward."""
        self.calls.append(SizeCall(module, self._counts[module], kind, labels, stretches))
        self._counts[module] += 1

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
    """

    def __init__(
        self, module: nn.Module, extents: Mapping[int, Extents], forward: Callable[..., Any]
    ) -> None:
        self.module, self.extents, self.forward = module, extents, forward

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.forward)

    @property
    def __code__(self) -> CodeType:  # torch's export says where a whole model's forward is
        found: CodeType = self.forward.__code__
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        with _Translated(self.module, self.extents):
            return self.forward(*args, **kwargs)


def set_sizes(module: nn.Module, extents: Mapping[int, Extents]) -> None:
    """Have a cut module translate sizes, in place; one that does so already goes on from there."""
    before = vars(module).get("forward")
    if isinstance(before, SizedForward):
        extents = {
            call: {
                dim: (before.extents.get(call, {}).get(dim, (dense,))[0], left)
                for dim, (dense, left) in dims.items()
            }
            for call, dims in extents.items()
        }
        extents = {**before.extents, **extents}
    forward = before.forward if isinstance(before, SizedForward) else module.forward
    module.forward = SizedForward(module, extents, forward)


class _Translated(TorchFunctionMode):
    def __init__(self, module: nn.Module, extents: Mapping[int, Extents]) -> None:
        super().__init__()
        self._module, self._extents = module, extents
        self._count: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, kind = kwargs or {}, _kind(func, args)
        if kind is None or not is_own_call(self._module):
            return func(*args, **kwargs)
        self._count["calls"] += 1
        extents = self._extents.get(self._count["calls"] - 1)
        if extents is None:
            return func(*args, **kwargs)
        if kind == "asked":
            return _dense_sizes(func(*args, **kwargs), args, kwargs, extents)
        found, named = _TRANSLATIONS[kind](list(args), dict(kwargs), extents)
        return func(*found, **named)


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
    kind = _KINDS.get(func)
    if kind == "taken" and not sliced_dims(args[1], args[0].dim()):
        return None
    return kind


def _dense_sizes(found: Any, args: Sequence[Any], kwargs: Mapping[str, Any], at: Extents) -> Any:
    rank = args[0].dim()
    named = args[1] if len(args) > 1 else kwargs.get("dim")
    if named is not None:
        dense, left = at.get(named % rank, (1, 1))
        return found * dense // left
    return torch.Size(
        size if dim not in at else int(size) * at[dim][0] // at[dim][1]
        for dim, size in enumerate(found)
    )


def _name(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    """A view, reshape or expand: sizes of the output, one by one or as a sequence."""
    if len(args) > 1 and isinstance(args[1], int | Tensor | torch.SymInt):
        return [args[0], *_left(args[1:], extents)], kwargs
    if len(args) > 1:
        return [args[0], _left(args[1], extents)], kwargs
    return args, {
        key: value if isinstance(value, torch.dtype) else _left(value, extents)
        for key, value in kwargs.items()
    }


def _unflatten(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    dim = (args[1] if len(args) > 1 else kwargs["dim"]) % args[0].dim()
    sizes = args[2] if len(args) > 2 else kwargs["sizes"]
    named = _left(sizes, {at - dim: each for at, each in extents.items()})
    return [args[0], dim, named], {}


def _split(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    dim = args[2] if len(args) > 2 else kwargs.get("dim", 0)
    sizes = args[1] if len(args) > 1 else kwargs.pop("split_size_or_sections", None)
    sizes = kwargs.pop("split_size") if sizes is None else sizes
    if not isinstance(sizes, int):
        return [args[0], [left_of(extents, n, at) for at, n in enumerate(sizes)], dim], {}
    parts: list[int] = []
    while sum(parts) < args[0].size(dim):
        rest = args[0].size(dim) - sum(parts)
        parts.append(min(left_of(extents, sizes, len(parts)), rest))
    return [args[0], parts, dim], {}


def _narrow(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    at = dict(zip(("dim", "start", "length"), args[1:], strict=False)) | kwargs
    start, length = (left_of(extents, int(at[n]), i) for i, n in enumerate(("start", "length")))
    return [args[0], at["dim"], start, length], {}


def _take(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    index = list(args[1]) if isinstance(args[1], tuple) else [args[1]]
    for dim, at in sliced_dims(args[1], args[0].dim()).items():
        own = {stretch - 3 * dim: each for stretch, each in extents.items()}
        if any(stretch in own for stretch in range(3)):
            index[at] = left_of_slice(own, index[at])
    return [args[0], tuple(index)], kwargs


def _norm(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    shape = args[1] if len(args) > 1 else kwargs.pop("normalized_shape")
    return [args[0], [left_of(extents, shape[0], 0)], *args[2:]], kwargs


def _scale(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    width = extents.get(args[0].dim() - 1)
    if width is not None and kwargs.get("scale") is None:
        kwargs["scale"] = width[0] ** -0.5
    return args, kwargs


def _left(sizes: Sequence[Any], extents: Extents) -> list[Any]:
    return [
        size if dim not in extents or _is_rest(size) else size * extents[dim][1] // extents[dim][0]
        for dim, size in enumerate(sizes)
    ]


def _is_rest(size: Any) -> bool:
    return isinstance(size, int) and size == -1


_Arguments = tuple[list[Any], dict[str, Any]]
_TRANSLATIONS: Final[dict[str, Callable[[list[Any], dict[str, Any], Extents], _Arguments]]] = {
    "named": _name,
    "unflattened": _unflatten,
    "split": _split,
    "narrow": _narrow,
    "taken": _take,
    "normed": _norm,
    "scale": _scale,
}
