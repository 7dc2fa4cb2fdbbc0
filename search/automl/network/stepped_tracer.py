"""Forward passes of one network in step: each waits at a gate until the others have come to it.

A pass over many inputs is walked in parts, so that no more is held than what each part still
needs. Where something is to be found from all inputs (a layer's weights, a range), each part stops
there. The last one to come has it found and goes on; then the others follow.

A pass cannot be stopped inside the network's own code. It is left by an exception and run again
later: operations that it had run by then are not run a second time, and modules that had returned
are not entered again. They give what they wrote where that was still referred to, and meaningless
numbers of the same shape where it was not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
from torch import nn
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import TensorWeakRef

from automl.network.forward_tracer import ForwardTracer

Tensor = torch.Tensor
#: What a module may give for its call to be left out the next time.
_PLAIN: Final = (Tensor, bool, int, float, str, type(None))


class _Left(BaseException):  # a network may catch each Exception
    """A pass is left at a gate."""


@dataclass(frozen=True, slots=True)
class _Looks:
    """What a tensor looks like, but for its numbers."""

    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> _Looks:
        """Those of a tensor."""
        return cls(tensor.size(), tensor.stride(), tensor.dtype)

    def blank(self) -> Tensor:
        """A tensor that looks so, with meaningless numbers."""
        return torch.empty_strided(self.size, self.stride, dtype=self.dtype)


@dataclass(slots=True)
class _Written:
    """A tensor that an operation wrote; held while the pass is left, where anybody needs it."""

    seen: TensorWeakRef
    looks: _Looks
    held: Tensor | None = None

    def take(self) -> Tensor:
        """The tensor, no longer held, or one that looks like it."""
        if self.held is None:
            return self.looks.blank()
        # anew, as an operation writes it: torch refuses one that is a view in its books already
        found: Tensor = torch.ops.aten.alias.default(self.held)
        self.held, self.seen = None, TensorWeakRef(found)
        return found


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far a pass has come, or how far a part of it goes.

    Attributes:
        operations, calls: Operations run, and calls of `after` made.
        entered: Modules entered that can be left out when they are come to again.
        visits: Per module, how many addresses were given.
    """

    operations: int
    calls: int
    entered: int
    visits: Counter[str]

    def since(self, start: _Progress) -> _Progress:
        """From there to here."""
        return _Progress(
            self.operations - start.operations,
            self.calls - start.calls,
            self.entered - start.entered,
            self.visits - start.visits,
        )


@dataclass(frozen=True, slots=True)
class _Returned:
    """A module's call that is over: what it gave, and how much of the pass it was."""

    output: Any
    length: _Progress


@dataclass(slots=True)
class Part:
    """Some of the inputs, and how far their pass has come.

    Attributes:
        number: Among the parts.
        here: Numbers of its inputs among all.
        held_bytes: Bytes of the values that are kept for it while its pass is left.
    """

    number: int
    here: slice
    held_bytes: int = 0
    ran: list[Any] = field(default_factory=list)  # what each operation wrote
    told: int = 0  # how many calls of `after` are done
    inputs: _Looks | None = None  # once its pass has begun
    returned: dict[int, _Returned] = field(default_factory=dict)  # by the number of the call

    def leave(self) -> None:
        """Hold what anybody still refers to."""
        storages: dict[int, int] = {}
        for each in self._written():
            each.held = each.seen()
            if each.held is not None:
                storage = each.held.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
        self.held_bytes = sum(storages.values())

    def _written(self) -> Iterator[_Written]:
        given = [each.output for each in self.returned.values()]
        return (leaf for leaf in tree_leaves([self.ran, given]) if isinstance(leaf, _Written))


class SteppedTracer(ForwardTracer, ABC):
    """Walks a network over inputs, part by part, from gate to gate.

    A subclass asks `is_settled` inside `before` or `after`. Where it is not, it adds what it wants
    of the part that runs, and calls `wait`; what follows that call is done once for all parts.

    Attributes:
        part: Whose pass is running.
        most_held: Most bytes that were kept for all parts together.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.part = Part(0, slice(0, 0))
        self.most_held = 0
        self._settled: set[Hashable] = set()
        self._came: Counter[Hashable] = Counter()
        self._operations = self._calls = self._entered = 0
        self._settling = False
        #: Inputs that were not read again, and what reads them.
        self._unread: tuple[Tensor, Callable[[slice], Tensor]] | None = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """As `ForwardTracer.attached`; modules that hold others are left out once they returned."""
        with super().attached(), ExitStack() as stack:
            for name, module in self._modules.items():
                if name and next(module.children(), None) and "forward" not in vars(module):
                    module.__dict__["forward"] = partial(self._through, module.forward)
                    stack.callback(module.__dict__.pop, "forward")
            yield

    @abstractmethod
    def expected(self, gate: Hashable) -> int:
        """How many parts, the first ones, a gate waits for; others pass it when it is settled."""

    def is_settled(self, gate: Hashable) -> bool:
        """Whether the running part may pass: it waited there, or came after that was over."""
        return gate in self._settled

    def wait(self, gate: Hashable) -> None:
        """Leave this pass until the others have come to the gate; only the last one goes on."""
        self._came[gate] += 1
        if self._came[gate] < self.expected(gate):
            self.part.leave()  # before values are lost that only a half-done expression refers to
            raise _Left
        self._settled.add(gate)
        self._settling = True

    def walk(self, read: Callable[[slice], Tensor], parts: Iterable[slice]) -> None:
        """Run the network over inputs, inside `attached`, until all gates are settled.

        No more parts are begun than a gate waits for.

        Args:
            read: Gives the inputs of these numbers.
            parts: Numbers of the inputs that go through together.
        """
        coming = (Part(number, here) for number, here in enumerate(parts))
        behind: deque[Part] = deque()
        waiting: list[Part] = []
        while True:
            part = behind.popleft() if behind else next(coming)
            self._settling = False
            if not self._left(part, read):
                return  # it passed all gates, which were settled then
            if self._settling:
                behind.extend(waiting)
                waiting.clear()
            waiting.append(part)
            held = sum(each.held_bytes for each in (*behind, *waiting))
            self.most_held = max(self.most_held, held)

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As `ForwardTracer.run`; what the pass ran before it was left is not run again."""
        if not (self._scope or self._suspended):
            return super().run(func, args, kwargs)  # inputs are read
        ran = self.part.ran
        self._operations += 1
        if self._operations <= len(ran):
            return tree_map(_taken, ran[self._operations - 1])
        self._read_by((args, kwargs))
        output = super().run(func, args, kwargs)
        ran.append(tree_map(_written, output))
        return output

    def _through(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A module's forward, or what it gave the last time."""
        if self._suspended:
            return forward(*args, **kwargs)
        number, part = self._entered, self.part
        self._entered += 1
        if number in part.returned:
            over = part.returned[number]
            self._operations += over.length.operations
            self._calls += over.length.calls
            self._entered += over.length.entered
            self._counts.update(over.length.visits)
            with no_dispatch():
                return tree_map(_taken, over.output)
        start = self._progress()
        output = forward(*args, **kwargs)
        if all(isinstance(leaf, _PLAIN) for leaf in tree_leaves(output)):
            length = self._progress().since(start)
            for inner in range(number + 1, self._entered):
                part.returned.pop(inner, None)
            part.returned[number] = _Returned(tree_map(_written, output), length)
            part.ran[start.operations : self._operations] = [None] * length.operations
        return output

    def _progress(self) -> _Progress:
        return _Progress(self._operations, self._calls, self._entered, self._counts.copy())

    def _quietly(self, call: Any, *args: Any) -> Any:
        """Tell of nothing that was told of before the pass was left."""
        if call == self.after:
            self._calls += 1
            if self._calls <= self.part.told:
                return None
            self._read_by(args)
            super()._quietly(call, *args)
            self.part.told = self._calls
            return None
        if self._operations < len(self.part.ran):
            return args[1:] if call == self.given else None
        self._read_by(args)
        return super()._quietly(call, *args)

    def _left(self, part: Part, read: Callable[[slice], Tensor]) -> bool:
        """Run a part's pass on, and say whether it was left at a gate."""
        self.part, part.held_bytes = part, 0
        self._operations = self._calls = self._entered = 0
        self.start()
        try:
            self._model(self._inputs(part, read))
        except _Left:
            return True
        finally:
            self._unread = None
        return False

    def _inputs(self, part: Part, read: Callable[[slice], Tensor]) -> Tensor:
        """A part's inputs; where its pass had begun, blank until something reads them again."""
        if part.inputs is None:
            found = read(part.here)
            part.inputs = _Looks.of(found)
            return found
        blank = part.inputs.blank()
        self._unread = blank, read
        return blank

    def _read_by(self, args: Any) -> None:
        """Read inputs that are blank, where they are among what is read now."""
        if self._unread is None:
            return
        blank, read = self._unread
        place = blank.untyped_storage().data_ptr()
        leaves = (leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor))
        if any(leaf.untyped_storage().data_ptr() == place for leaf in leaves):
            self._unread = None
            with no_dispatch():
                blank.copy_(read(self.part.here))


def _written(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    return _Written(TensorWeakRef(leaf), _Looks.of(leaf))


def _taken(leaf: Any) -> Any:
    return leaf.take() if isinstance(leaf, _Written) else leaf
