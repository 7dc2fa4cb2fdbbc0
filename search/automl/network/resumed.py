"""Forward passes of a network of which a part is changed at a time: what comes before runs once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Final

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import TensorWeakRef

from automl.network.forward_tracer import Address, ForwardTracer, LeafCall

Tensor = torch.Tensor
#: Bytes of values that are kept for later passes.
KEPT_BYTES: Final = 64 << 20
#: Where inputs lie, and their shape.
_Key = tuple[int, torch.Size]


class ResumedPasses:
    """Passes of a network over the same inputs, begun where something was changed.

    `whole` notes which operations a pass runs. A later pass over the same inputs is told what was
    changed since. It runs nothing before the first operation that this can touch: it gives what
    was kept there, and meaningless numbers of the same shape for the rest, which nothing reads any
    more. What comes out is what the network itself would give, as long as which operations it runs
    depends on nothing but its inputs' shape.

    One place is kept for each inputs. A pass that begins later starts from it, and its own place is
    kept in turn, so that changes from the input to the output cost one pass in all before them.
    No more is kept than a limit: a place that takes more is passed by. What takes much is the large
    maps near the input, before which hardly anything was run.

    torch's fused attention is switched off meanwhile, as it is where values are looked at.

    Args:
        model: In evaluation mode; its inputs are tensors that stay as they are.
        limit: Most bytes that are kept.
    """

    def __init__(self, model: nn.Module, limit: int = KEPT_BYTES) -> None:
        self._model, self._limit = model, limit
        self._orders: dict[_Key, _Order] = {}
        self._prefixes: dict[_Key, _Prefix] = {}
        self._passed_by: set[tuple[_Key, int]] = set()

    def whole(self, inputs: Tensor) -> Any:
        """What the unchanged network gives; which operations it runs is noted."""
        order = _Order(inputs)
        with _without_fused_attention(), _Counting(order), _Placing(self._model, order).attached():
            output = self._model(inputs)
        self._orders[_key(inputs)] = order
        return output

    def since(
        self,
        changed: Collection[str],
        touched: Collection[Address] = (),
        run: Callable[[Tensor], Any] | None = None,
    ) -> Callable[[Tensor], Any]:
        """Passes in which nothing is changed before some parts first run.

        Args:
            changed: Names of modules: other numbers in their parameters, or another module there.
            touched: Operations whose inputs or outputs are changed.
            run: Runs the network once, changed as said; None runs it as it is.
        """
        run = run or self._model
        parts = [self._model.get_submodule(name) for name in changed]
        parameters = chain.from_iterable(part.parameters() for part in parts)
        storages = [_storage(each) for each in parameters]

        def resumed(inputs: Tensor) -> Any:
            order = self._orders.get(_key(inputs))
            first = 0 if order is None else order.first(changed, storages, touched)
            with torch.no_grad(), _without_fused_attention():
                return self._pass(run, inputs, first)

        return resumed

    def _pass(self, run: Callable[[Tensor], Any], inputs: Tensor, first: int) -> Any:
        key = _key(inputs)
        prefix = self._prefixes.get(key)
        if prefix is not None and len(prefix.wrote) > first:
            del self._prefixes[key]
            prefix = None
        begun = 0 if prefix is None else len(prefix.wrote)
        if first == begun or (key, first) in self._passed_by:
            if prefix is None:
                return run(inputs)
            with _Replaying(prefix):
                return run(inputs)
        others = sum(each.size for other, each in self._prefixes.items() if other != key)
        recording = _Recording(prefix, inputs, first, self._limit - others)
        with recording:
            output = run(inputs)
        if recording.made is not None:
            self._prefixes[key] = recording.made
        else:
            self._passed_by.add((key, first))
        return output


@dataclass(slots=True)
class _Order:
    """Which operations a pass runs, by their number.

    The inputs are held so that no others come to lie in their place.

    Attributes:
        inputs: Of the pass.
        count: Operations so far.
        scopes: Per module, the first operation after it was entered.
        reads: Per storage of parameters and other tensors, the first operation that reads it.
        places: Per address, the first operation that runs there.
    """

    inputs: Tensor
    count: int = 0
    scopes: dict[str, int] = field(default_factory=dict)
    reads: dict[int, int] = field(default_factory=dict)
    places: dict[Address, int] = field(default_factory=dict)

    def first(
        self, names: Collection[str], storages: Collection[int], touched: Collection[Address]
    ) -> int:
        """The first operation that changes can touch; 0 where some are never met."""
        entered = [self.scopes.get(name, 0) for name in names]
        read = [self.reads[each] for each in storages if each in self.reads]
        at = [self.places.get(each, 0) for each in touched]
        return min((*entered, *read, *at), default=0)


@dataclass(frozen=True, slots=True)
class _Written:
    """A tensor that an operation wrote; a copy is held where anybody still referred to it."""

    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    held: Tensor | None = None


@dataclass(frozen=True, slots=True)
class _Prefix:
    """What the first operations of a pass wrote.

    Attributes:
        inputs: Of the pass; held so that no others come to lie in their place.
        wrote: Of each operation.
        size: Bytes that are held.
    """

    inputs: Tensor
    wrote: tuple[Any, ...]
    size: int


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


class _Counting(TorchDispatchMode):
    """Counts operations, and notes which storages they read."""

    def __init__(self, order: _Order) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._order = order

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                self._order.reads.setdefault(_storage(leaf), self._order.count)
        self._order.count += 1
        return func(*args, **(kwargs or {}))


class _Placing(ForwardTracer):
    """Notes when modules and addresses first run."""

    def __init__(self, model: nn.Module, order: _Order) -> None:
        super().__init__(model)
        self._order = order

    def enter(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._order.scopes.setdefault(name, self._order.count)

    def given(
        self, step: LeafCall, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self._order.places.setdefault(step.address, self._order.count)
        if step.module:
            self._order.scopes.setdefault(step.module, self._order.count)
        return args, kwargs


class _Replaying(TorchDispatchMode):
    """Gives what was noted in place of running it, then runs the rest."""

    def __init__(self, prefix: _Prefix | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._copies, self._left = _Copies(), iter(() if prefix is None else prefix.wrote)

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


class _Recording(_Replaying):
    """Begins at a prefix, and notes what each operation writes until it is as long as asked.

    Attributes:
        made: The longer prefix; None where there was no room, or the pass ended before.
    """

    def __init__(self, prefix: _Prefix | None, inputs: Tensor, length: int, room: int) -> None:
        super().__init__(prefix)
        self._inputs, self._length, self._room = inputs, length, room
        self._seen: list[Any] = []
        self.made: _Prefix | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if len(self._seen) == self._length and self.made is None and self._room >= 0:
            self._end()
        output = super().__torch_dispatch__(func, types, args, kwargs)
        if len(self._seen) < self._length:
            self._seen.append(tree_map(_seen, output))
        return output

    def _end(self) -> None:
        """Hold a copy of what anybody refers to now: what comes later may write into it."""
        found = [each() for each in tree_leaves(self._seen) if isinstance(each, _Seen)]
        alive = [each for each in found if each is not None]
        size = sum({_storage(each): each.untyped_storage().nbytes() for each in alive}.values())
        if size > self._room:
            self._room = -1
            return
        copies = _Copies()
        wrote = tree_map(partial(_written, copies), self._seen)
        self.made = _Prefix(self._inputs, tuple(wrote), size)


class _Seen:
    """A tensor that an operation wrote, as long as anybody refers to it."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = TensorWeakRef(tensor)
        self._like = (tensor.size(), tensor.stride(), tensor.dtype)

    def __call__(self) -> Tensor | None:
        found: Tensor | None = self._tensor()
        return found

    def written(self, copies: _Copies) -> _Written:
        """What is kept of it now."""
        alive = self._tensor()
        return _Written(*self._like, None if alive is None else copies.of(alive))


def _key(inputs: Tensor) -> _Key:
    return inputs.data_ptr(), inputs.shape


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _seen(leaf: Any) -> Any:
    return _Seen(leaf) if isinstance(leaf, Tensor) else leaf


def _written(copies: _Copies, leaf: Any) -> Any:
    return leaf.written(copies) if isinstance(leaf, _Seen) else leaf


@contextmanager
def _without_fused_attention() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
