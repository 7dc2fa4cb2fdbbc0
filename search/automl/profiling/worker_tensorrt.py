"""TensorRT 10 and 11 for the worker: the same calls serve both.

Networks are strongly typed (11 knows no other): the ONNX model's tensors decide the precision,
fp16 by fp16 tensors, int8 by QuantizeLinear and DequantizeLinear pairs. The DLA is never asked
for. Memory and events go through cuda-python where it is installed, else through libcudart.

No GPU was at hand when this was written: names and signatures are held against the bindings of
10.3.0 and 11.4 by a test, the order of the calls by a replay.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Callable  # noqa: UP035 - boards have Python 3.8

import numpy as np

OLDEST = 10  # the first major version whose strongly typed networks this relies on
WORKSPACE = 1 << 28  # bytes that a tactic may use: little beside the memory of a small board
PLANS = 32  # built engines that are kept; building one takes seconds
#: Names a file in which tactic timings are kept from run to run; without it they die with us.
CACHE_VARIABLE = "AUTOML_TIMING_CACHE"
LIBRARIES = (
    "libcudart.so",
    "libcudart.so.13",
    "libcudart.so.12",
    "/usr/local/cuda/lib64/libcudart.so",
)
HOST_TO_DEVICE = 1  # cudaMemcpyHostToDevice

_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
#: Functions of libcudart: what they write through their first argument, and the other arguments.
SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "cudaMalloc": (_POINTER, (_SIZE,)),
    "cudaFree": (None, (_POINTER,)),
    "cudaMemcpyAsync": (None, (_POINTER, _POINTER, _SIZE, _INT, _POINTER)),
    "cudaStreamCreate": (_POINTER, ()),
    "cudaStreamDestroy": (None, (_POINTER,)),
    "cudaStreamSynchronize": (None, (_POINTER,)),
    "cudaEventCreate": (_POINTER, ()),
    "cudaEventDestroy": (None, (_POINTER,)),
    "cudaEventRecord": (None, (_POINTER, _POINTER)),
    "cudaEventSynchronize": (None, (_POINTER,)),
    "cudaEventElapsedTime": (ctypes.c_float, (_POINTER, _POINTER)),
}


class DeviceError(RuntimeError):
    """CUDA or TensorRT does not do what was asked."""


def cuda_python() -> Any:
    """cuda-python's runtime module, None where it is not installed."""
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError:
        return None


class CudaPython:
    """CUDA's runtime through cuda-python."""

    def __init__(self, bindings: Any) -> None:
        self.bindings = bindings

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of `SIGNATURES`; what it returns beside its status."""
        if name == "cudaMemcpyAsync":
            target, source, size, kind, stream = arguments
            arguments = (target, source, size, self.bindings.cudaMemcpyKind(kind), stream)
        status, *found = getattr(self.bindings, name)(*arguments)
        if int(status) != 0:
            raise DeviceError(f"{name}: {status.name}")
        return found[0] if found else None


class CudaLibrary:
    """CUDA's runtime through ctypes."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.library.cudaGetErrorString.restype = ctypes.c_char_p
        for name, (result, arguments) in SIGNATURES.items():
            pointer = () if result is None else (ctypes.POINTER(result),)
            getattr(library, name).argtypes = (*pointer, *arguments)

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of `SIGNATURES`; what it writes through its first argument."""
        kind = SIGNATURES[name][0]
        result = None if kind is None else kind()
        pointer = () if result is None else (ctypes.byref(result),)
        status = getattr(self.library, name)(*pointer, *arguments)
        if status != 0:
            raise DeviceError(f"{name}: {self.library.cudaGetErrorString(status).decode()}")
        return None if result is None else result.value


def load_cuda() -> Any:
    """CUDA's runtime by whichever way there is.

    Raises:
        DeviceError: There is none.
    """
    bindings = cuda_python()
    if bindings is not None:
        return CudaPython(bindings)
    for name in LIBRARIES:
        try:
            return CudaLibrary(ctypes.CDLL(name))
        except OSError:
            continue
    raise DeviceError("neither cuda-python nor libcudart is found (LD_LIBRARY_PATH?)")


def make_log(trt: Any) -> Any:
    """A logger that keeps TensorRT's errors and drops the rest."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(msg)

        def failure(self, what: str) -> DeviceError:
            """An error that says what failed, and the first reason given since the last one."""
            reasons, self.errors = self.errors, []
            return DeviceError(f"{what}: {reasons[0]}" if reasons else what)

    return Log()


class TensorRT:
    """TensorRT on the GPU."""

    on_processor = False
    #: What it raises when it refuses a model; the bindings raise TypeError where nothing is made.
    refusals = (RuntimeError, TypeError, ValueError, MemoryError, OSError)

    def __init__(self) -> None:
        self.trt = importlib.import_module("tensorrt")
        self.version = self.trt.__version__
        self.log = make_log(self.trt)
        self.cache_path = os.environ.get(CACHE_VARIABLE, "")
        self.timings = self.read_timings()
        self.plans: dict[bytes, Any] = {}
        self.cuda: Any = None
        self.stream: Any = None
        self.events: list[Any] = []

    def load(self, model: bytes, threads: int, resources: ExitStack) -> Callable[[int], float]:
        """An engine with its inputs filled once; `resources` frees its memory on the device.

        Raises:
            DeviceError: There is no GPU, or TensorRT refuses the model.
        """
        if int(self.version.split(".")[0]) < OLDEST:
            raise DeviceError(f"TensorRT {self.version} is too old: {OLDEST}.0 or later is needed")
        self.open_device()
        runtime = self.trt.Runtime(self.log)
        engine = runtime.deserialize_cuda_engine(self.plan(model))
        if engine is None:
            raise self.log.failure("the engine cannot be loaded")
        context = engine.create_execution_context()
        if context is None:
            raise self.log.failure("no memory for running the engine")
        for index in range(engine.num_io_tensors):
            self.fill(engine, context, engine.get_tensor_name(index), resources)
        return self.timer(context)

    def open_device(self) -> None:
        """Make the stream and the events, once."""
        if self.events:
            return
        self.cuda = load_cuda()
        self.stream = self.cuda.call("cudaStreamCreate")
        self.events = [self.cuda.call("cudaEventCreate") for _ in range(2)]

    def plan(self, model: bytes) -> Any:
        """The plan of a model; what surrounds operators is asked for again and again."""
        key = hashlib.sha256(model).digest()
        found = self.plans.pop(key, None)
        self.plans[key] = self.build(model) if found is None else found
        while len(self.plans) > PLANS:
            del self.plans[next(iter(self.plans))]
        return self.plans[key]

    def build(self, model: bytes) -> Any:
        """The plan of a strongly typed network, built with the timings known so far."""
        trt = self.trt
        builder = trt.Builder(self.log)
        typed = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        network = builder.create_network(1 << int(typed))
        parser = trt.OnnxParser(network, self.log)
        if not parser.parse(model):
            reasons = [parser.get_error(i).desc() for i in range(parser.num_errors)]
            raise DeviceError("; ".join(reasons) or "the model cannot be parsed")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
        cache = config.create_timing_cache(self.timings)
        if cache is None or not config.set_timing_cache(cache, False):  # of another device
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, False)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise self.log.failure("the network cannot be built")
        self.keep_timings(bytes(config.get_timing_cache().serialize()))
        return plan

    def fill(self, engine: Any, context: Any, name: str, resources: ExitStack) -> None:
        """Give a tensor its memory; an input is filled with random numbers."""
        shape = tuple(engine.get_tensor_shape(name))
        if min(shape, default=1) < 0:
            raise DeviceError(f"tensor {name!r} has the open shape {shape}: export it with batch 1")
        kind = np.dtype(self.trt.nptype(engine.get_tensor_dtype(name)))
        values = np.random.default_rng(0).standard_normal(shape).astype(kind)
        address = self.cuda.call("cudaMalloc", max(values.nbytes, 1))
        resources.callback(self.free, address)
        if engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT:
            source, stream = values.ctypes.data, self.stream
            self.cuda.call(
                "cudaMemcpyAsync", address, source, values.nbytes, HOST_TO_DEVICE, stream
            )
            self.cuda.call("cudaStreamSynchronize", stream)
        context.set_tensor_address(name, int(address))

    def free(self, address: Any) -> None:
        """Give memory back; after a fault on the device nothing can be, and nothing need be."""
        with suppress(DeviceError):
            self.cuda.call("cudaFree", address)

    def timer(self, context: Any) -> Callable[[int], float]:
        """A run: executions queued back to back, the GPU's own time divided by their number.

        Queued, the next one's launches overlap with the one that runs, as when a network is run
        frame after frame; the events' resolution of half a microsecond is shared by all.
        """
        call, (begin, end) = self.cuda.call, self.events

        def run(repeats: int) -> float:
            call("cudaEventRecord", begin, self.stream)
            for _ in range(repeats):
                if not context.execute_async_v3(int(self.stream)):
                    raise self.log.failure("the engine does not run")
            call("cudaEventRecord", end, self.stream)
            call("cudaEventSynchronize", end)
            return float(call("cudaEventElapsedTime", begin, end)) / 1e3 / repeats

        return run

    def read_timings(self) -> bytes:
        """The timing cache as it was kept, empty where there is none."""
        path = Path(self.cache_path)
        return path.read_bytes() if self.cache_path and path.is_file() else b""

    def keep_timings(self, timings: bytes) -> None:
        """Remember a timing cache, and write it whole where it has a file."""
        if self.cache_path and timings != self.timings:
            path = Path(self.cache_path)
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            temporary.write_bytes(timings)
            os.replace(temporary, path)
        self.timings = timings
