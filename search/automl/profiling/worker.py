"""Times ONNX models on the device it runs on; needs Python, numpy and its runtime only.

Started as `python worker.py`, it says hello with one JSON line, then answers each request line
on standard input with JSON lines on standard output until the input ends:

    -> {"id": 7, "runtime": "onnxruntime", "threads": 1, "spread": 0.03, "seconds": 4.0,
        "pass_seconds": 0.003, "min_passes": 4, "max_passes": 20, "min_seconds": 0.0,
        "probes": [{"models": ["<base64 of zlib of ONNX>", ...], "weights": [0.125, -0.125]}, ...]}
    <- {"id": 7, "alive": true}
    <- {"id": 7, "probe": 0, "seconds": 5.1e-05, "spread": 0.021, "runs": 420}
    <- {"id": 7, "probe": 1, "error": "..."}
    <- {"id": 7, "done": true, "stolen": 0.04, "state": {...}}

A probe's value is the weighted sum of its models' times. All probes of a request are timed in
turn, pass after pass, and each model's quickest pass counts: others share caches and cores with
us, for a second at a time on a rented machine, and no pass is quicker than the model is. A probe
leaves when other passes came near the quickest, all leave when the time is up. With one thread
the clock is that thread's processor time, which stands still while another process has the
core; otherwise it is the wall's, and on a GPU it is the GPU's own. `stolen` is the share of the
time in which we were kept off. `alive` comes between models, at most once a second: who asks tells
by it a worker that has much to do from one that hangs.

TensorRT is spoken to from a file beside this one, `worker_tensorrt.py`; a board is sent all files
as one (`automl.profiling.bundle`). LiteRT takes .tflite files where the others take ONNX.
"""

from __future__ import annotations

import base64
import functools
import importlib
import json
import platform
import signal
import sys
import time
import zlib
from contextlib import ExitStack
from importlib import metadata
from typing import Any, Callable  # noqa: UP035 - boards have Python 3.8

import numpy as np

Send = Callable[["dict[str, Any]"], None]
#: Runs a model so many times; the seconds of one run, with as little disturbance as can be had.
Run = Callable[[int], float]

#: Runs after which a model's buffers are in the caches again, and the most that they may take.
WARM_RUNS, WARM_SECONDS = 5, 0.02
#: Passes that must have come near a model's quickest one, so that it was no pass of luck, and how
#: many times as far as the last of these it may be off: 75 and 83 % of operators were off by no
#: more, on a machine that others use too (two runs of bench_disturbed.py).
WITNESS, OFF = 2, 1.5
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
}


class OnnxRuntime:
    """ONNX Runtime on the processor.

    What a runtime has: `version`, the exceptions that it refuses models with, and `load`.
    """

    #: Whether time in which others have the processor is lost.
    on_processor = True

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

    def load(self, model: bytes, threads: int, resources: ExitStack) -> Run:
        """A session with its inputs filled once; `resources` frees what Python does not."""
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
        return quickest(lambda: session.run_with_iobinding(binding), threads)

    def saturates(self) -> bool:
        """Whether sums of products of bytes saturate on this processor."""
        return bool(importlib.import_module("worker_products").saturates(self.run))

    def run(self, model: bytes, inputs: dict[str, Any]) -> list[Any]:
        """All outputs of a model on inputs by name, in the runtime's own arithmetic."""
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        session = self.ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        outputs: Any = session.run(None, inputs)
        return list(outputs)


class LiteRT:
    """LiteRT's interpreter on the processor, with the kernels that it takes by itself (XNNPACK).

    There is no converter from ONNX on a board and none in this package, so operators cannot be
    timed one by one: whole networks come as .tflite files, all else is refused.
    """

    on_processor = True
    #: SystemError is what a build for another numpy ends in.
    refusals = (RuntimeError, ValueError, TypeError, MemoryError, SystemError)
    #: Packages with the same `interpreter.Interpreter`, and the distributions that hold them.
    packages = (("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime"))

    def __init__(self) -> None:
        self.interpreter, self.version = self.installed()

    def installed(self) -> tuple[Any, str]:
        """The interpreter's class and its version."""
        for package, distribution in self.packages:
            try:
                found = importlib.import_module(f"{package}.interpreter")
            except ImportError:
                continue
            return found.Interpreter, metadata.version(distribution)
        raise ImportError("neither ai_edge_litert nor tflite_runtime is installed")

    def load(self, model: bytes, threads: int, resources: ExitStack) -> Run:
        """An interpreter with its inputs filled once."""
        if model[4:8] != b"TFL3":
            raise ValueError("LiteRT runs .tflite files only, and there is no converter here")
        interpreter = self.interpreter(model_content=model, num_threads=threads)
        interpreter.allocate_tensors()
        rng = np.random.default_rng(0)
        for value in interpreter.get_input_details():
            kind, shape = np.dtype(value["dtype"]), value["shape"]
            whole = np.issubdtype(kind, np.integer)
            filled = rng.integers(0, 100, shape) if whole else rng.standard_normal(shape)
            interpreter.set_tensor(value["index"], filled.astype(kind))
        return quickest(interpreter.invoke, threads)


def tensorrt() -> Any:
    """TensorRT on the GPU, from the file beside this one."""
    return importlib.import_module("worker_tensorrt").TensorRT()


RUNTIMES = {"onnxruntime": OnnxRuntime, "tensorrt": tensorrt, "litert": LiteRT}


@functools.lru_cache(maxsize=None)  # noqa: UP033 - boards have Python 3.8
def runtime_named(name: str) -> Any:
    """A runtime, made once.

    Raises:
        ImportError: It is not installed.
        OSError: Its libraries are not found.
    """
    return RUNTIMES[name]()


def quickest(call: Callable[[], None], threads: int) -> Run:
    """A run on the processor: the quickest of several counts, for the rest was disturbed.

    What has one thread runs in the caller's, and its processor time tells the time, but on Windows,
    which counts it in steps of 16 ms.
    """
    of_thread = threads == 1 and sys.platform != "win32"
    clock = time.thread_time if of_thread else time.perf_counter

    def timed() -> float:
        start = clock()
        call()
        return clock() - start

    return lambda repeats: min(timed() for _ in range(repeats))


class Pulse:
    """Tells that the worker is alive, seldom enough to disturb nothing."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.last = time.perf_counter()

    def beat(self) -> None:
        """Tell it, unless that was told within the last second."""
        if time.perf_counter() - self.last > 1.0:
            self.send({"alive": True})
            self.last = time.perf_counter()


class LoadedProbe:
    """Models whose weighted sum of times is wanted, and their times in the passes so far."""

    def __init__(
        self, index: int, weights: list[float], models: list[Run], pass_seconds: float
    ) -> None:
        self.index = index
        self.weights = np.asarray(weights)
        self.models = [(model, warm_up(model, pass_seconds)) for model in models]
        self.passes: list[list[float]] = []

    def one_pass(self) -> None:
        """Run every model in turn."""
        self.passes.append([model(repeats) for model, repeats in self.models])

    def result(self) -> tuple[float, float]:
        """The value by each model's quickest pass, the half-width of its 68 % interval; seconds."""
        times = np.sort(self.passes, axis=0)
        quickest, witness = times[0], times[min(WITNESS, len(times) - 1)]
        off = OFF * np.linalg.norm(self.weights * (witness - quickest))
        return float(self.weights @ quickest), float(off)

    def settled(self, spread: float) -> bool:
        """Whether the spread is small, beside the value or beside what it is a small part of."""
        value, half_width = self.result()
        whole = float(np.abs(self.weights) @ np.min(self.passes, axis=0))
        return half_width <= spread * max(abs(value), 0.1 * whole)

    def answer(self) -> dict[str, Any]:
        """The line that is sent; what is lost in the noise takes one nanosecond, spread and all."""
        value, half_width = self.result()
        seconds = max(value, 1e-9)
        runs = len(self.passes) * sum(repeats for _, repeats in self.models)
        return {
            "probe": self.index,
            "seconds": seconds,
            "spread": half_width / seconds,
            "runs": runs,
        }


def warm_up(model: Run, pass_seconds: float) -> int:
    """Run until warm; how many runs fill a pass.

    The quickest counts. Other probes ran in between, so a large model's first runs find
    its buffers out of the caches: two to three times its time in a network, on a server. A pass
    has so many that the last of them do not, where that does not take long.
    """
    model(1)
    seconds = max(model(2), 1e-6)
    warm = min(WARM_RUNS, round(WARM_SECONDS / seconds))
    return max(1, warm, min(100, round(pass_seconds / seconds)))


def load_probes(request: dict[str, Any], send: Send, resources: ExitStack) -> list[LoadedProbe]:
    """The probes that load and run; an error line for each of the others."""
    runtime, threads = runtime_named(request["runtime"]), request["threads"]
    probes = []
    pulse = Pulse(send)
    for index, probe in enumerate(request["probes"]):
        try:
            models = []
            for model in probe["models"]:
                content = zlib.decompress(base64.b64decode(model))
                models.append(runtime.load(content, threads, resources))
                pulse.beat()
            probes.append(LoadedProbe(index, probe["weights"], models, request["pass_seconds"]))
        except runtime.refusals as error:
            send(refusal(index, error))
    return probes


def refusal(index: int, error: Exception) -> dict[str, Any]:
    """The line that names what a runtime raised."""
    message = " ".join(str(error).split()) or type(error).__name__
    return {"probe": index, "error": message[:400]}


def measure(request: dict[str, Any], send: Send) -> None:
    """Answer a request, and free what it held."""
    with ExitStack() as resources:
        time_probes(load_probes(request, send, resources), request, send)


def time_probes(probes: list[LoadedProbe], request: dict[str, Any], send: Send) -> None:
    """Time probes in interleaved passes; one that fails on the way leaves with its error."""
    runtime = runtime_named(request["runtime"])
    start, used = time.perf_counter(), time.process_time()
    passes = 0
    pulse = Pulse(send)
    while probes:
        for probe in list(probes):
            try:
                probe.one_pass()
            except runtime.refusals as error:
                send(refusal(probe.index, error))
                probes.remove(probe)
            pulse.beat()
        passes += 1
        seconds = time.perf_counter() - start
        soon = seconds < request.get("min_seconds", 0.0)
        early = soon or passes < request["min_passes"]
        late = seconds > request["seconds"] and passes >= 3
        last = late or (passes >= request["max_passes"] and not soon)
        left = []
        for probe in probes:
            if last or (not early and probe.settled(request["spread"])):
                send(probe.answer())
            else:
                left.append(probe)
        probes = left
    elapsed = time.perf_counter() - start
    counts = elapsed > 0.05 and runtime.on_processor
    stolen = 1.0 - (time.process_time() - used) / elapsed if counts else 0.0
    now = importlib.import_module("worker_state").state()
    send({"done": True, "stolen": max(0.0, stolen), "state": now})


def write(line: dict[str, Any]) -> None:
    """Send one line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def hello() -> dict[str, Any]:
    """What there is to measure with: each runtime's version, None where it is not installed."""
    line: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    for name in RUNTIMES:
        try:
            line[name] = runtime_named(name).version
        except (ImportError, OSError):
            line[name] = None
    line["saturates"] = saturating()
    found = importlib.import_module("worker_state")
    boot = found.text("proc/sys/kernel/random/boot_id")
    return {**line, "state": found.state(), "load": found.load(), "boot": boot}


def saturating() -> dict[str, bool]:
    """Of each runtime that can tell: whether its sums of products of bytes saturate here."""
    try:
        runtime = runtime_named("onnxruntime")
    except (ImportError, OSError):
        return {}
    try:
        return {"onnxruntime": runtime.saturates()}
    except runtime.refusals:  # a build without integer kernels
        return {}


def main() -> None:
    """Say hello, then answer requests until the input ends.

    With a number of seconds as its argument it ends by itself when no request comes for so long.
    """
    idle = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    write(hello())
    signal.alarm(idle)  # its default is to end the process; 0 sets none
    for line in sys.stdin:
        signal.alarm(0)
        request = json.loads(line)
        number = request["id"]

        def send(answer: dict[str, Any], number: int = number) -> None:
            write({"id": number, **answer})

        measure(request, send)
        signal.alarm(idle)


if __name__ == "__main__":
    main()
