"""Who runs probes: this machine here; a board over SSH has the same two methods."""

from __future__ import annotations

import base64
import json
import math
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from automl.errors import MeasureError, nearest, printable
from automl.latency import CPU_RUNTIME
from automl.profiling.device import Conditions
from automl.profiling.pipe import Pipe, Silence
from automl.profiling.protocol import (
    Alive,
    Done,
    Refused,
    parse_answer,
    parse_conditions,
    parse_hello,
)
from automl.profiling.runtimes import runtime_of_table

#: Seconds in which a worker has to say its first line.
GREETING: Final = 120.0
_HERE: Final = "this machine"
_VERSION: Final = 100  # characters of a runtime's version
_SAID: Final = 400  # characters of what a process complained of
#: Bytes of a model that are encoded at once.
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Probe:
    """Models and the weights of their times: what is measured is sum(weight * seconds).

    Attributes:
        models: Serialised ONNX models; read once for each time that they are sent.
        weights: One factor per model; a difference has negative ones.
    """

    models: Sequence[bytes]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """When timing ends.

    Attributes:
        spread: Relative half-width of the 68 % interval at which a probe is finished.
        seconds: Time after which all probes of a batch end, as good as they are.
        pass_seconds: Time given to each model in a pass; its quickest run of all passes counts.
        min_passes, max_passes: Passes that a probe takes part in.
        min_seconds: Time before which no probe is finished: others have a core for up to a second.
    """

    spread: float = 0.03
    seconds: float = 10.0
    pass_seconds: float = 0.003
    min_passes: int = 4
    max_passes: int = 20
    min_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a runner says of one probe.

    Attributes:
        probe: Index of the probe in the batch.
        seconds: By each model's quickest pass; NaN where `error` is set.
        spread: Relative half-width of its 68 % interval.
        runs: Executions that it rests on.
        error: Why the runtime refused it, or "".
        board: Which of several boards measured it; "" where there is one.
    """

    probe: int
    seconds: float
    spread: float
    runs: int
    error: str = ""
    board: str = ""


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What measures.

    Attributes:
        runtime, version: Of what executes the operators.
        threads: CPU threads.
        machine: Architecture.
        conditions: State of the machine at the start; None where it was not asked.
        load: Cores that others kept busy at the start.
        boot: The start of the kernel that runs there; "" where the machine does not tell.
        saturates: Whether sums of products of bytes saturate there; None where that is not known.
    """

    runtime: str
    version: str
    threads: int
    machine: str
    conditions: Conditions | None = None
    load: float = 0.0
    boot: str = ""
    saturates: bool | None = None


class Runner(Protocol):
    """A device with a runtime."""

    @property
    def info(self) -> RuntimeInfo:
        """What measures."""
        ...

    @property
    def stolen(self) -> float:
        """Share of the last batch's time in which others took the core."""
        ...

    @property
    def state(self) -> Conditions | None:
        """Of the machine after the last batch; None where it was not asked."""
        ...

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        """Time the probes of one batch, interleaved; each is given out as soon as it is finished.

        Raises:
            MeasureError: If the device cannot be reached or its worker ends.
        """
        ...


class LocalRunner:
    """Times on this machine, in a process of its own. A context manager: leaving it ends that.

    Args:
        threads: CPU threads.
        runtime: Name of the runtime.
        python: Interpreter that has it.
        silence: Seconds that its process may say nothing; None for what the runtime may take.

    Raises:
        MeasureError: If the runtime is not installed or its process cannot be started.
    """

    def __init__(
        self,
        threads: int = 1,
        runtime: str = CPU_RUNTIME,
        python: str = sys.executable,
        *,
        silence: float | None = None,
    ) -> None:
        self._silence = silence
        self._pipe = Pipe([python, str(Path(__file__).with_name("worker.py"))])
        self._requests = 0
        try:
            hello = greeting(self._pipe, silence, python)
            if hello is None:
                raise MeasureError(self._ended())
            self.info = info_from(hello, runtime, threads, f"for {python}")
        except MeasureError:
            self.close()
            raise
        self.stolen = 0.0
        self.state = self.info.conditions

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process_id(self) -> int:
        """Of the worker."""
        return self._pipe.process_id

    def close(self) -> None:
        """End the worker."""
        self._pipe.close()

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        """See `Runner.run`."""
        self._requests += 1
        asked = Asked(self._requests, tuple(probes), limits, self.info, _HERE, self._silence)
        for found in answers(self._pipe, asked, list(range(len(probes)))):
            if isinstance(found, Measurement):
                yield found
                continue
            self.stolen, self.state = found.stolen, parse_conditions(found.state, _HERE)
            return
        raise MeasureError(self._ended())

    def _ended(self) -> str:
        status, text = self._pipe.ended()
        self.close()
        last = f": {text.splitlines()[-1][:_SAID]}" if text else " (out of memory?)"
        return f"the process that measures ended with status {status}{last}"


def greeting(pipe: Pipe, silence: float | None, where: str) -> dict[str, Any] | None:
    """A worker's first line; None where it ended without one.

    Args:
        pipe: The worker.
        silence: Seconds that it may say nothing; None for `GREETING`.
        where: The device, for messages.

    Raises:
        MeasureError: It says nothing for so long.
    """
    seconds = GREETING if silence is None else silence
    try:
        return pipe.read(seconds)
    except Silence:
        raise MeasureError(f"{where}: nothing was said within {seconds:g} s") from None


def info_from(hello: dict[str, Any], runtime: str, threads: int, where: str) -> RuntimeInfo:
    """What a worker's first line says.

    Raises:
        MeasureError: If the runtime is not installed `where`, naming those that are; if the worker
            has no such runtime, naming the nearest.
    """
    said = parse_hello(hello, where)
    known = said.runtimes
    if runtime not in known:
        raise MeasureError(f"the worker has no runtime {runtime!r}{nearest(runtime, known)}")
    version = known[runtime]
    if not isinstance(version, str) or not 0 < len(version) <= _VERSION:
        there = sorted(name for name in known if isinstance(known[name], str) and name != runtime)
        held = f" (there is: {', '.join(there)})" if there else ""
        raise MeasureError(f"the runtime {runtime!r} is not installed {where}{held}")
    state = parse_conditions(said.state, where)
    return RuntimeInfo(
        runtime,
        printable(version),
        threads,
        said.machine,
        state,
        said.load,
        said.boot,
        said.saturates.get(runtime),
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to a worker.

    Attributes:
        number: Which of the worker's requests it is.
        probes, limits: What is timed.
        info: What measures.
        where: The device, for messages.
        limit: Seconds that the worker may say nothing; None for what the runtime may take.
    """

    number: int
    probes: tuple[Probe, ...]
    limits: Limits
    info: RuntimeInfo
    where: str
    limit: float | None = None

    @property
    def silence(self) -> float:
        """Seconds that the worker may say nothing: it tells that it is alive after each model."""
        return runtime_of_table(self.info.runtime).silence if self.limit is None else self.limit

    @property
    def whole(self) -> float:
        """Seconds that it may take in all, whatever it says meanwhile."""
        models = sum(len(probe.models) for probe in self.probes)
        return self.limits.seconds + self.silence * (1 + models)


def answers(pipe: Pipe, asked: Asked, waiting: list[int]) -> Iterator[Measurement | Done]:
    """Ask, and give what is said about it as it comes, until the process ends.

    What is left of a batch that the caller gave up early is skipped.

    Args:
        pipe: The worker.
        asked: The request.
        waiting: Probes without an answer, from which each leaves that is answered.

    Raises:
        MeasureError: The worker says nothing for too long, or what cannot be.
    """
    where, silence, end = asked.where, asked.silence, time.monotonic() + asked.whole
    try:
        pipe.write(request(asked), silence)
    except Silence:
        raise MeasureError(f"{where}: the worker has read nothing for {silence:g} s") from None
    heard = time.monotonic()
    while True:
        left = min(heard + silence, end) - time.monotonic()
        try:
            line = pipe.read(max(0.0, left))
        except Silence:
            raise _late(asked, waiting, heard) from None
        if line is None:
            return
        ours = line.get("id") == asked.number
        found = parse_answer(line, where) if ours else None
        if found is None or isinstance(found, Alive):
            if left <= 0.0:
                raise _late(asked, waiting, heard)
            heard = heard if found is None else time.monotonic()
            continue
        if isinstance(found, Done):
            if waiting:
                raise MeasureError(f"{where}: the worker left {len(waiting)} probes unanswered")
            yield found
            return
        if found.probe not in waiting:
            raise MeasureError(f"{where}: the worker answers probe {found.probe}, not asked of it")
        waiting.remove(found.probe)
        if isinstance(found, Refused):
            yield Measurement(found.probe, math.nan, math.nan, 0, found.error)
        else:
            yield Measurement(found.probe, found.seconds, found.spread, found.runs)
        heard = time.monotonic()


def _late(asked: Asked, waiting: Sequence[int], heard: float) -> MeasureError:
    return MeasureError(
        f"{asked.where}: the worker has said nothing of what it was asked for"
        f" {time.monotonic() - heard:.0f} s: {len(waiting)} probes are unanswered"
    )


def request(asked: Asked) -> Iterator[str]:
    """A batch as the worker's request line, in pieces: no model is encoded as a whole."""
    limits = asked.limits
    head = json.dumps(
        {
            "id": asked.number,
            "runtime": asked.info.runtime,
            "threads": asked.info.threads,
            "spread": limits.spread,
            "seconds": limits.seconds,
            "pass_seconds": limits.pass_seconds,
            "min_passes": limits.min_passes,
            "max_passes": limits.max_passes,
            "min_seconds": limits.min_seconds,
        }
    )
    yield head.removesuffix("}") + ', "probes": ['
    for index, probe in enumerate(asked.probes):
        yield f'{"," * bool(index)} {{"weights": {json.dumps(probe.weights)}, "models": ['
        for place, model in enumerate(probe.models):
            yield f'{"," * bool(place)} "'
            yield from _encoded(model)
            yield '"'
        yield "]}"
    yield "]}"


def _encoded(model: bytes) -> Iterator[str]:
    """A model compressed, in base64, piece by piece."""
    packer, rest = zlib.compressobj(1), b""
    for first in range(0, len(model), _PIECE):
        packed = rest + packer.compress(model[first : first + _PIECE])
        whole = len(packed) // 3 * 3  # only the last piece may end in padding
        yield base64.b64encode(packed[:whole]).decode()
        rest = packed[whole:]
    yield base64.b64encode(rest + packer.flush()).decode()
