"""Times ONNX models on the device it runs on. One file; needs Python, numpy and its runtime only.

Started as `python worker.py`, it says hello with one JSON line, then answers each request line
on standard input with JSON lines on standard output until the input ends:

    -> {"id": 7, "runtime": "onnxruntime", "threads": 1, "spread": 0.03, "seconds": 4.0,
        "pass_seconds": 0.003, "min_passes": 7, "max_passes": 60,
        "probes": [{"models": ["<base64 of zlib of ONNX>", ...], "weights": [0.125, -0.125]}, ...]}
    <- {"id": 7, "probe": 0, "seconds": 5.1e-05, "spread": 0.021, "runs": 420}
    <- {"id": 7, "probe": 1, "error": "..."}
    <- {"id": 7, "done": true, "stolen": 0.04}

A probe's value is the weighted sum of its models' times, taken within one pass, so that drift
cancels in differences. All probes of a request are timed in turn, pass after pass: a probe
leaves when the spread of its median is small, all leave when the time is up. With one thread
the clock is that thread's processor time, which stands still while another process has the
core; otherwise it is the wall's. `stolen` is the share of the time in which we were kept off.
"""

from __future__ import annotations

import base64
import json
import platform
import sys
import time
import zlib
from typing import Any, Callable  # noqa: UP035 - boards have Python 3.8

import numpy as np

Send = Callable[["dict[str, Any]"], None]
Run = Callable[[], None]
Clock = Callable[[], float]

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
}


class OnnxRuntime:
    """ONNX Runtime on the processor."""

    def __init__(self) -> None:
        import onnxruntime
        from onnxruntime.capi import (
            onnxruntime_pybind11_state as state,  # pyright: ignore[reportAttributeAccessIssue]
        )

        self.ort = onnxruntime
        self.version = onnxruntime.__version__
        #: What it raises when it refuses a model.
        self.refusals = (
            state.Fail,
            state.InvalidArgument,
            state.InvalidGraph,
            state.InvalidProtobuf,
            state.NotImplemented,
            state.RuntimeException,
            MemoryError,
            RuntimeError,
            ValueError,
        )

    def clock(self, threads: int) -> Clock:
        """What tells the time of a run. A session with one thread runs in the caller's."""
        return time.thread_time if threads == 1 else time.perf_counter

    def load(self, model: bytes, threads: int) -> Run:
        """A session with its inputs filled once; calling the result runs it."""
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        session = self.ort.InferenceSession(
            model,
            options,
            providers=["CPUExecutionProvider"],
            # equal operators without weights stand beside each other in a probe on purpose
            disabled_optimizers=["CommonSubexpressionElimination"],
        )
        rng = np.random.default_rng(0)
        binding = session.io_binding()
        for value in session.get_inputs():
            shape = [size if isinstance(size, int) else 1 for size in value.shape]
            binding.bind_cpu_input(
                value.name, rng.standard_normal(shape).astype(DTYPES[value.type])
            )
        for value in session.get_outputs():
            binding.bind_output(value.name)
        return lambda: session.run_with_iobinding(binding)


RUNTIMES = {"onnxruntime": OnnxRuntime}


class Probe:
    """Models whose weighted sum of times is wanted, and its value in the passes so far."""

    def __init__(
        self,
        index: int,
        weights: list[float],
        models: list[Run],
        clock: Clock,
        pass_seconds: float,
    ) -> None:
        self.index = index
        self.clock = clock
        self.parts = [
            (weights[i], model, warm_up(model, clock, pass_seconds))
            for i, model in enumerate(models)
        ]
        self.values: list[float] = []
        self.size = 0.0

    def one_pass(self) -> None:
        """Run every model in turn; of each, the quickest run counts (the rest was disturbed)."""
        times = [
            weight * min(timed(model, self.clock) for _ in range(repeats))
            for weight, model, repeats in self.parts
        ]
        self.values.append(sum(times))
        self.size = sum(abs(part) for part in times)

    def result(self) -> tuple[float, float]:
        """Median over the passes and the half-width of its 68 % interval, in seconds."""
        values = np.asarray(self.values)
        median = float(np.median(values))
        deviation = 1.4826 * float(np.median(np.abs(values - median)))
        return median, 1.2533 * deviation / len(values) ** 0.5

    def settled(self, spread: float) -> bool:
        """Whether the spread is small, beside the value or beside what it is a small part of."""
        median, half_width = self.result()
        return bool(half_width <= spread * max(abs(median), 0.1 * self.size))

    def answer(self) -> dict[str, Any]:
        """The line that is sent; what is lost in the noise takes one nanosecond, spread and all."""
        median, half_width = self.result()
        seconds = max(median, 1e-9)
        runs = len(self.values) * sum(repeats for _, _, repeats in self.parts)
        return {
            "probe": self.index,
            "seconds": seconds,
            "spread": half_width / seconds,
            "runs": runs,
        }


def timed(model: Run, clock: Clock) -> float:
    """Seconds of one run."""
    start = clock()
    model()
    return clock() - start


def warm_up(model: Run, clock: Clock, pass_seconds: float) -> int:
    """Run until warm; how many runs fill a pass (at least 1)."""
    timed(model, clock)
    quickest = min(timed(model, clock) for _ in range(2))
    return max(1, min(100, round(pass_seconds / max(quickest, 1e-6))))


def load_probes(request: dict[str, Any], send: Send) -> list[Probe]:
    """The probes that load and run; an error line for each of the others."""
    runtime: Any = RUNTIMES[request["runtime"]]()
    threads, clock = request["threads"], runtime.clock(request["threads"])
    probes = []
    for index, probe in enumerate(request["probes"]):
        try:
            models = [
                runtime.load(zlib.decompress(base64.b64decode(model)), threads)
                for model in probe["models"]
            ]
            weights, pass_seconds = probe["weights"], request["pass_seconds"]
            probes.append(Probe(index, weights, models, clock, pass_seconds))
        except runtime.refusals as error:
            send({"probe": index, "error": " ".join(str(error).split())[:400]})
    return probes


def measure(request: dict[str, Any], send: Send) -> None:
    """Time all probes of a request in interleaved passes."""
    probes = load_probes(request, send)
    start, used = time.perf_counter(), time.process_time()
    passes = 0
    while probes:
        for probe in probes:
            probe.one_pass()
        passes += 1
        late = time.perf_counter() - start > request["seconds"] and passes >= 3
        last = late or passes >= request["max_passes"]
        left = []
        for probe in probes:
            if last or (passes >= request["min_passes"] and probe.settled(request["spread"])):
                send(probe.answer())
            else:
                left.append(probe)
        probes = left
    elapsed = time.perf_counter() - start
    stolen = 1.0 - (time.process_time() - used) / elapsed if elapsed > 0.05 else 0.0
    send({"done": True, "stolen": max(0.0, stolen)})


def write(line: dict[str, Any]) -> None:
    """Send one line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def hello() -> dict[str, Any]:
    """What there is to measure with: each runtime's version, None where it is not installed."""
    line: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    for name, runtime in RUNTIMES.items():
        try:
            line[name] = runtime().version
        except ImportError:
            line[name] = None
    return line


def main() -> None:
    """Say hello, then answer requests until the input ends."""
    write(hello())
    for line in sys.stdin:
        request = json.loads(line)
        number = request["id"]

        def send(answer: dict[str, Any], number: int = number) -> None:
            write({"id": number, **answer})

        measure(request, send)


if __name__ == "__main__":
    main()
