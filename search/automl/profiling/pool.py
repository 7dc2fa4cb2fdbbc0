"""Several boards of one kind that share the work."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from automl.errors import MeasureError
from automl.profiling.device import Conditions
from automl.profiling.runner import Limits, Measurement, Probe, RuntimeInfo
from automl.profiling.ssh import SSHRunner, differing

#: A batch is cut into so many parts a board: boards that are slower take fewer of them.
PARTS = 3


class PooledRunner:
    """Identical boards as one. A context manager: leaving it ends their workers.

    A single probe is timed on every board and the slowest answer counts, so that what a profile
    times again and again to notice a board that slows down notices any of them.

    Raises:
        MeasureError: If the boards differ in device, runtime, version, threads, clock setting or
            power mode.
    """

    def __init__(self, runners: Sequence[SSHRunner]) -> None:
        self._runners = list(runners)
        self._stack = ExitStack()
        for runner in self._runners:
            self._stack.enter_context(runner)
        for runner in self._runners[1:]:
            apart = differing(self._runners[0].info, runner.info)
            if apart:
                self._stack.close()
                raise MeasureError(
                    f"{self._runners[0]} and {runner} cannot share a table: they differ in {apart}"
                )

    def __enter__(self) -> PooledRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def info(self) -> RuntimeInfo:
        """Of the boards; the load is that of the busiest."""
        load = max(runner.info.load for runner in self._runners)
        return replace(self._runners[0].info, load=load)

    @property
    def stolen(self) -> float:
        """The largest of any board."""
        return max(runner.stolen for runner in self._runners)

    @property
    def state(self) -> Conditions | None:
        """Of the board that is worst off: throttled, else hottest."""
        states = [runner.state for runner in self._runners if runner.state is not None]
        return max(states, key=lambda one: (bool(one.throttled), one.temperature or 0.0))

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        """See `Runner.run`. A board that fails leaves its share to the others, until none is left.

        Raises:
            MeasureError: If no board is left; the last one's reason is given.
        """
        if len(probes) == 1:
            found = [
                measured for runner in self._runners for measured in runner.run(probes, limits)
            ]
            yield next((one for one in found if one.error), max(found, key=lambda m: m.seconds))
            return
        size = -(-len(probes) // (PARTS * len(self._runners)))
        parts = [
            range(first, min(first + size, len(probes))) for first in range(0, len(probes), size)
        ]
        share = limits.seconds / len(parts)
        batch = _Batch(probes, replace(limits, seconds=share), [list(part) for part in parts])
        yield from batch.measure(self._runners)
        for runner in batch.failed:
            self._runners.remove(runner)


class _Batch:
    """Parts of a batch that boards take until all are done."""

    def __init__(self, probes: Sequence[Probe], limits: Limits, parts: list[list[int]]) -> None:
        self._probes, self._limits = probes, limits
        self._parts: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        for part in parts:
            self._parts.put(part)
        self._answers: queue.SimpleQueue[Measurement | tuple[SSHRunner, MeasureError | None]]
        self._answers = queue.SimpleQueue()
        self._stopped = threading.Event()
        self.failed: list[SSHRunner] = []

    def measure(self, runners: Sequence[SSHRunner]) -> Iterator[Measurement]:
        left, idle = len(self._probes), list[SSHRunner]()
        for runner in runners:
            self._start(runner)
        working = len(runners)
        try:
            while left:
                found = self._answers.get()
                if isinstance(found, Measurement):
                    left -= 1
                    yield found
                    continue
                runner, error = found
                working -= 1
                if error is None:
                    idle.append(runner)
                else:
                    self.failed.append(runner)
                while idle and not self._parts.empty():  # a part that a failed board gave back
                    self._start(idle.pop())
                    working += 1
                if not working and left:
                    raise error or MeasureError("the boards ended before the work did")
        finally:
            self._stopped.set()

    def _start(self, runner: SSHRunner) -> None:
        threading.Thread(target=self._work, args=(runner,), daemon=True).start()

    def _work(self, runner: SSHRunner) -> None:
        """Take parts until there are none; what a board that fails leaves is put back."""
        while not self._stopped.is_set():
            try:
                part = self._parts.get_nowait()
            except queue.Empty:
                break
            waiting = list(part)
            try:
                for measured in runner.run([self._probes[i] for i in part], self._limits):
                    index = part[measured.probe]
                    waiting.remove(index)
                    self._answers.put(replace(measured, probe=index))
                    if self._stopped.is_set():
                        return
            except MeasureError as error:
                self._parts.put(waiting)
                self._answers.put((runner, error))
                return
        self._answers.put((runner, None))
