"""Forward passes of a network whose first part is run once, and its last part again and again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import TensorWeakRef

Tensor = torch.Tensor
#: Bytes of values that are kept for later passes.
KEPT_BYTES: Final = 64 << 20


class ResumedModel:
    """A network in which some modules alone are changed between passes over the same inputs.

    The first pass over some inputs keeps what was written before an operation first read a
    parameter of these modules, and was still referred to then. A later pass over them runs what
    came before no more: it gives what was kept, and meaningless numbers of the same shape for the
    rest, which nothing reads any more. What comes out is what the network itself would give, as
    long as which operations it runs depends on nothing but its inputs' shape.

    No more is kept than a limit: passes over other inputs are whole each time. What takes much is
    the large maps near the input, behind which hardly anything was run.

    Args:
        model: In evaluation mode; its inputs are tensors that stay as they are.
        changed: Names of the modules. Their parameters may get other values, nothing else.
        limit: Most bytes that are kept.
    """

    def __init__(self, model: nn.Module, changed: Collection[str], limit: int = KEPT_BYTES) -> None:
        self._model, self._room = model, limit
        parameters = (p for name in changed for p in model.get_submodule(name).parameters())
        self._storages = frozenset(_storage(each) for each in parameters)
        self._begun: dict[tuple[int, torch.Size], _Begun] = {}

    def __call__(self, inputs: Tensor) -> Any:
        """What the network gives now."""
        key = (inputs.data_ptr(), inputs.shape)
        begun = self._begun.get(key)
        if begun is not None and begun.ended:
            with torch.no_grad(), _Replaying(begun) if begun.kept else nullcontext():
                return self._model(inputs)
        begun = self._begun[key] = _Begun(inputs, self._room)
        with torch.no_grad(), _Recording(begun, self._reads):
            output = self._model(inputs)
        self._room -= begun.kept
        return output

    def _reads(self, leaf: Any) -> bool:
        return isinstance(leaf, Tensor) and _storage(leaf) in self._storages


@dataclass(slots=True)
class _Written:
    """A tensor that an operation wrote; held where anybody still refers to it."""

    seen: TensorWeakRef | None
    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    held: Tensor | None = None


@dataclass(slots=True)
class _Begun:
    """What the operations of a pass wrote, one after the other, until one read what changes.

    The inputs are held so that no others come to lie in their place.

    Attributes:
        inputs: Of the pass.
        room: Most bytes that may be kept.
        wrote: What each operation wrote; empty where there is no room for it.
        kept: Bytes that are.
        ended: Whether one read what changes.
    """

    inputs: Tensor
    room: int
    wrote: list[Any] = field(default_factory=list)
    kept: int = 0
    ended: bool = False

    def end(self) -> None:
        """Hold a copy of what anybody refers to now: what comes later may write into it."""
        leaves = [leaf for leaf in tree_leaves(self.wrote) if isinstance(leaf, _Written)]
        found = [None if leaf.seen is None else leaf.seen() for leaf in leaves]
        sizes = {
            _storage(each): each.untyped_storage().nbytes() for each in found if each is not None
        }
        kept, copies = sum(sizes.values()), _Copies()
        if kept > self.room:
            self.wrote.clear()
        else:
            for leaf, each in zip(leaves, found, strict=True):
                leaf.held, leaf.seen = None if each is None else copies.of(each), None
            self.kept = kept
        self.ended = True  # last: an interruption comes anywhere


class _Copies:
    """Copies of tensors; those that share their memory share it again."""

    def __init__(self) -> None:
        self._made: dict[int, torch.UntypedStorage] = {}

    def of(self, tensor: Tensor) -> Tensor:
        """The tensor, copied."""
        place = _storage(tensor)
        if place not in self._made:
            self._made[place] = tensor.untyped_storage().clone()
        made = torch.empty(0, dtype=tensor.dtype)
        return made.set_(self._made[place], tensor.storage_offset(), tensor.size(), tensor.stride())


class _Recording(TorchDispatchMode):
    """Notes what each operation writes, until one reads what changes."""

    def __init__(self, begun: _Begun, reads: Callable[[Any], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._begun, self._reads = begun, reads

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, begun = kwargs or {}, self._begun
        if not begun.ended and any(map(self._reads, tree_leaves((args, kwargs)))):
            begun.end()
        output = func(*args, **kwargs)
        if not begun.ended:
            begun.wrote.append(tree_map(_written, output))
        return output


class _Replaying(TorchDispatchMode):
    """Gives what was noted in place of running it, then runs the rest."""

    def __init__(self, begun: _Begun) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._copies, self._left = _Copies(), iter(begun.wrote)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        wrote = next(self._left, self)
        return func(*args, **(kwargs or {})) if wrote is self else tree_map(self._taken, wrote)

    def _taken(self, leaf: Any) -> Any:
        if not isinstance(leaf, _Written):
            return leaf
        if leaf.held is None:
            return torch.empty_strided(leaf.size, leaf.stride, dtype=leaf.dtype)
        return self._copies.of(leaf.held)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _written(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    return _Written(TensorWeakRef(leaf), leaf.size(), leaf.stride(), leaf.dtype)
