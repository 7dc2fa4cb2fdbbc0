"""Who runs probes: this machine here; a board over SSH has the same two methods."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from automl.errors import MeasureError


@dataclass(frozen=True, slots=True)
class Probe:
    """Models and the weights of their times: what is measured is sum(weight * seconds).

    Attributes:
        models: Serialised ONNX models.
        weights: One factor per model; a difference has negative ones.
    """

    models: tuple[bytes, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """When timing ends.

    Attributes:
        spread: Relative half-width of the median's 68 % interval at which a probe is finished.
        seconds: Time after which all probes of a batch end, as good as they are.
        pass_seconds: Time given to each model in a pass; its quickest run in it counts.
        min_passes, max_passes: Passes that a probe takes part in.
    """

    spread: float = 0.03
    seconds: float = 10.0
    pass_seconds: float = 0.003
    min_passes: int = 7
    max_passes: int = 60


@dataclass(frozen=True, slots=True)
class Measured:
    """What a runner says of one probe.

    Attributes:
        probe: Index of the probe in the batch.
        seconds: Median over passes; NaN where `error` is set.
        spread: Relative half-width of its 68 % interval.
        runs: Executions that it rests on.
        error: Why the runtime refused it, or "".
    """

    probe: int
    seconds: float
    spread: float
    runs: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What measures: runtime, its version, threads, and the machine's architecture."""

    runtime: str
    version: str
    threads: int
    machine: str


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

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measured]:
        """Time the probes of one batch, interleaved; each is given out as soon as it is finished.

        Raises:
            MeasureError: If the device cannot be reached or its worker ends.
        """
        ...


class LocalRunner:
    """Times on this machine, in a process of its own. A context manager: leaving it ends that."""

    def __init__(self, threads: int = 1, runtime: str = "onnxruntime") -> None:
        self._worker = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        self._requests = 0
        hello = self._read()
        version = hello.get(runtime)
        if version is None:
            self.close()
            raise MeasureError(f"the runtime {runtime!r} is not installed for {sys.executable}")
        self.info = RuntimeInfo(runtime, version, threads, hello["machine"])
        self.stolen = 0.0

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process_id(self) -> int:
        """Of the worker."""
        return self._worker.pid

    def close(self) -> None:
        """End the worker."""
        self._worker.kill()
        self._worker.communicate()

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measured]:
        """See `Runner.run`."""
        self._requests += 1
        number = self._requests
        self._write(request(number, self.info, probes, limits))
        while True:
            line = self._read()
            if line.get("id") != number:  # the rest of a batch that the caller left early
                continue
            if "done" in line:
                self.stolen = float(line["stolen"])
                return
            yield answer(line)

    def _write(self, line: str) -> None:
        assert self._worker.stdin is not None
        try:
            self._worker.stdin.write(line + "\n")
            self._worker.stdin.flush()
        except BrokenPipeError:
            raise MeasureError(self._ended()) from None

    def _read(self) -> dict[str, Any]:
        assert self._worker.stdout is not None
        line = self._worker.stdout.readline()
        if not line:
            raise MeasureError(self._ended())
        found: dict[str, Any] = json.loads(line)
        return found

    def _ended(self) -> str:
        status = self._worker.wait()
        self.close()
        return f"the process that measures ended with status {status} (out of memory?)"


def request(number: int, info: RuntimeInfo, probes: Sequence[Probe], limits: Limits) -> str:
    """A batch as the worker's request line."""
    return json.dumps(
        {
            "id": number,
            "runtime": info.runtime,
            "threads": info.threads,
            "spread": limits.spread,
            "seconds": limits.seconds,
            "pass_seconds": limits.pass_seconds,
            "min_passes": limits.min_passes,
            "max_passes": limits.max_passes,
            "probes": [
                {
                    "models": [
                        base64.b64encode(zlib.compress(model, 1)).decode() for model in probe.models
                    ],
                    "weights": probe.weights,
                }
                for probe in probes
            ],
        }
    )


def answer(line: dict[str, Any]) -> Measured:
    """A worker's line about one probe."""
    if "error" in line:
        return Measured(line["probe"], float("nan"), float("nan"), 0, line["error"])
    return Measured(line["probe"], line["seconds"], line["spread"], line["runs"])
