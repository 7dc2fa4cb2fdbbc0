"""Several boards of one kind that share the work."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from automl.errors import MeasureError
from automl.latency import OpKey
from automl.profiling.device import Conditions
from automl.profiling.runner import Limits, Measurement, Probe, Runner, RuntimeInfo
from automl.profiling.ssh import differing

#: A batch is cut into so many parts a board: boards that are slower take fewer of them.
PARTS: Final = 3
#: Seconds for which a board may be away before others take over what it has in hand.
GRACE: Final = 5.0
_LOOK: Final = 0.2  # seconds between two looks at who is away
_FAREWELL: Final = 10.0  # seconds in which a board that measures may notice that it is over


class BoardRunner(Runner, Protocol):
    """One board of several: a runner with a name, which knows when its connection is lost."""

    @property
    def board(self) -> str:
        """The board as a table names it."""
        ...

    @property
    def away(self) -> bool:
        """Whether the connection is lost and being made again."""
        ...

    def close(self) -> None:
        """End the worker and the connection."""
        ...

    def stop(self) -> None:
        """End the connection at once, while another thread measures."""
        ...


class PooledRunner:
    """Boards of one kind as one runner. A context manager: leaving it ends their workers.

    Each board has one worker, which measures one part of a batch at a time.

    Attributes:
        lost: Boards that were lost, and why; what was theirs is measured by the others.
        rounds: What several boards measured of one operator at the same time, for who compares.

    Raises:
        MeasureError: If boards differ from the first in device, cores, runtime, version, threads,
            clock setting or power mode; names each of them and what differs.
    """

    def __init__(self, runners: Sequence[BoardRunner]) -> None:
        self._boards = {runner.board: _Board(runner) for runner in runners}
        self._first = runners[0].info
        self._said: queue.SimpleQueue[_Answer | _Rest] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self.lost: dict[str, str] = {}
        self.rounds: dict[OpKey, list[dict[str, Measurement]]] = {}
        found = {runner.board: differing(self._first, runner.info) for runner in runners}
        apart = "; ".join(f"{name} in {what}" for name, what in found.items() if what)
        if apart:
            self.close()
            raise MeasureError(
                f"boards of different kinds cannot share a table: from {runners[0].board}"
                f" differ {apart}"
            )

    def __enter__(self) -> PooledRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and the connections, also of boards that measure."""
        with ExitStack() as stack:
            for board in self._boards.values():
                stack.callback(board.end)

    @property
    def boards(self) -> Mapping[str, Runner]:
        """The boards that are left, by name."""
        return {name: board.runner for name, board in self._boards.items() if name not in self.lost}

    @property
    def info(self) -> RuntimeInfo:
        """Of the boards; the load is that of the busiest."""
        load = max((runner.info.load for runner in self.boards.values()), default=0.0)
        return replace(self._first, load=load)

    @property
    def stolen(self) -> float:
        """The largest of any board."""
        return max((runner.stolen for runner in self.boards.values()), default=0.0)

    @property
    def state(self) -> Conditions | None:
        """Of the board that is worst off: throttled, else hottest."""
        states = [runner.state for runner in self.boards.values() if runner.state is not None]
        return max(
            states, key=lambda one: (bool(one.throttled), one.temperature or 0.0), default=None
        )

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        """See `Runner.run`; each answer says its board. A lost board's share goes to the others.

        Raises:
            MeasureError: If no board is left, with the reason of each.
        """
        size = max(1, -(-len(probes) // (PARTS * max(1, len(self.boards)))))
        cuts = [
            tuple(range(first, min(first + size, len(probes))))
            for first in range(0, len(probes), size)
        ]
        limits = replace(limits, seconds=limits.seconds / max(1, len(cuts)))
        waiting = {(index, "") for index in range(len(probes))}
        batch = _Batch(next(self._numbers), probes, limits, waiting)
        batch.parts += [_Part(batch, cut, "") for cut in cuts]
        yield from self._measure(batch)

    def run_on_each(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        """Every probe on every board, all boards at once; each answer says its board.

        A board that is lost or away meanwhile leaves its answers out.

        Raises:
            MeasureError: If no board is left, with the reason of each.
        """
        every = tuple(range(len(probes)))
        waiting = {(index, name) for name in self.boards for index in every}
        batch = _Batch(next(self._numbers), probes, limits, waiting)
        batch.parts += [_Part(batch, every, name) for name in self.boards]
        yield from self._measure(batch)
        if not self.boards:
            raise MeasureError(self._ended())

    def _measure(self, batch: _Batch) -> Iterator[Measurement]:
        """Give parts to boards that rest, and give out what they answer, until all is there."""
        while batch.waiting:
            live = [board for name, board in self._boards.items() if name not in self.lost]
            for board in live:
                if board.part is None and (part := batch.take(board.name)) is not None:
                    board.measure(part, self._said)
            if all(board.part is None for board in live):
                raise MeasureError(self._ended())
            _pass_on(batch, live)
            try:
                said = self._said.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if isinstance(said, _Rest):
                self._rest(said)
            elif said.part.batch is batch and batch.settle(said):
                yield said.measured

    def _rest(self, rest: _Rest) -> None:
        """A board has done its part, or was lost over it."""
        rest.board.part = None
        if rest.error:
            self.lost[rest.board.name] = rest.error
            rest.part.batch.forget(rest.board.name)
            rest.part.batch.give_back(rest.part)
            rest.board.end()

    def _ended(self) -> str:
        reasons = "; ".join(f"{name}: {why}" for name, why in self.lost.items())
        return f"no board is left, the rows so far are kept: {reasons or 'all work ended early'}"


def _pass_on(batch: _Batch, live: Sequence[_Board]) -> None:
    """What boards would have to do that are away goes to the others, where there are some."""
    away = [board for board in live if board.is_away()]
    if len(away) == len(live):
        return
    for board in away:
        batch.forget(board.name)
        if board.part is not None and board.part.batch is batch and not board.part.passed_on:
            board.part.passed_on = True
            batch.give_back(board.part)


@dataclass(slots=True, eq=False)
class _Batch:
    """Probes that are waited for, as (index, board), the board "" where any may do it."""

    number: int
    probes: Sequence[Probe]
    limits: Limits
    waiting: set[tuple[int, str]]
    parts: list[_Part] = field(default_factory=list)

    def take(self, board: str) -> _Part | None:
        """The next part that this board may measure."""
        for part in self.parts:
            if part.owner in ("", board):
                self.parts.remove(part)
                return part
        return None

    def settle(self, answer: _Answer) -> bool:
        """Whether an answer was waited for, which it is not any more."""
        key = (answer.measured.probe, answer.part.owner)
        if key not in self.waiting:
            return False
        self.waiting.remove(key)
        return True

    def give_back(self, part: _Part) -> None:
        """What is left of a part is for whoever comes."""
        left = tuple(index for index in part.indices if (index, part.owner) in self.waiting)
        if left:
            self.parts.append(_Part(self, left, part.owner))

    def forget(self, board: str) -> None:
        """Nothing is waited for any more that this board alone may measure."""
        self.waiting = {key for key in self.waiting if key[1] != board}
        self.parts = [part for part in self.parts if part.owner != board]


@dataclass(slots=True, eq=False)
class _Part:
    """Probes of a batch for one board at a time; `owner` is who alone may measure it, or ""."""

    batch: _Batch
    indices: tuple[int, ...]
    owner: str
    passed_on: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    part: _Part
    measured: Measurement


@dataclass(frozen=True, slots=True)
class _Rest:
    """A board has nothing to do any more; `error` says why it was lost, or ""."""

    board: _Board
    part: _Part
    error: str


class _Board:
    """A board, and the part that it has in hand."""

    def __init__(self, runner: BoardRunner) -> None:
        self.runner, self.name = runner, runner.board
        self.part: _Part | None = None
        self._thread: threading.Thread | None = None
        self._away_since: float | None = None

    def measure(self, part: _Part, said: queue.SimpleQueue[_Answer | _Rest]) -> None:
        """Begin with a part; what is found goes into the queue."""
        self.part = part
        self._thread = threading.Thread(target=self._work, args=(part, said), daemon=True)
        self._thread.start()

    def _work(self, part: _Part, said: queue.SimpleQueue[_Answer | _Rest]) -> None:
        error = "its measuring broke off"
        try:
            probes = [part.batch.probes[index] for index in part.indices]
            for measured in self.runner.run(probes, part.batch.limits):
                index = part.indices[measured.probe]
                said.put(_Answer(part, replace(measured, probe=index, board=self.name)))
            error = ""
        except MeasureError as raised:
            error = str(raised)
        finally:
            said.put(_Rest(self, part, error))

    def is_away(self) -> bool:
        """Whether it has been away for longer than the grace."""
        if not self.runner.away:
            self._away_since = None
            return False
        if self._away_since is None:
            self._away_since = time.monotonic()
        return time.monotonic() - self._away_since >= GRACE

    def end(self) -> None:
        """End the worker, also one that measures."""
        if self._thread is not None and self._thread.is_alive() and self.part is not None:
            self.runner.stop()
            self._thread.join(_FAREWELL)
        self.runner.close()
