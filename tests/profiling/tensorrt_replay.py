"""A replay of TensorRT and CUDA, made by hand from the documented behaviour of their interfaces.

No board was at hand, so this is no recording of one: it shows that the worker calls in the right
order, fills, frees and computes, not that a GPU does what is asked. Names and members are held
against the real bindings by `test_tensorrt_bindings.py`.
"""

from __future__ import annotations

import ctypes
import enum
from types import SimpleNamespace
from typing import Any

import numpy as np


class Session:
    """What happened, and how long the GPU is said to take."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.memory: dict[int, int] = {}
        #: Milliseconds of one execution of a model, by its content; the events count them.
        self.milliseconds: dict[bytes, float] = {}
        #: Executions after which a model fails.
        self.lives: dict[bytes, int] = {}
        self.now = 0.0
        self.stamps: dict[int, float] = {}
        self.refused: dict[bytes, str] = {}
        self.violations: set[bytes] = set()
        self.dtype = "HALF"
        self.known_timings = b"timings of this device"

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]


SESSION = Session()


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1

    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class INetworkDefinition:
    pass


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> bytes:
        return self._content


class IBuilderConfig:
    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        SESSION.calls.append(("workspace", pool_size))

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        SESSION.calls.append(("create_timing_cache", serialized_timing_cache))
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        """A cache of another device is not taken."""
        assert not ignore_mismatch
        return cache.serialize() in (b"", SESSION.known_timings)

    def get_timing_cache(self) -> ITimingCache:
        return ITimingCache(SESSION.known_timings)


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int) -> INetworkDefinition:
        SESSION.calls.append(("create_network", flags))
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def build_serialized_network(self, network: Any, config: IBuilderConfig) -> bytes | None:
        SESSION.calls.append(("build", network.model))
        if network.model in SESSION.violations:
            self._logger.log(ILogger.ERROR, "no tactic for node 3")  # type: ignore[attr-defined]
            return None
        return bytes(network.model)


class ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser:
    num_errors: int

    def __init__(self, network: Any, logger: ILogger) -> None:
        self._network = network
        self.num_errors = 0

    def parse(self, model: bytes) -> bool:
        self._network.model = model
        self.num_errors = int(model in SESSION.refused)
        return self.num_errors == 0

    def get_error(self, index: int) -> ParserError:
        return ParserError(SESSION.refused[self._network.model])


class IExecutionContext:
    def __init__(self, plan: bytes) -> None:
        self._plan = plan
        self._addresses: dict[str, int] = {}

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory in SESSION.memory
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert set(self._addresses) == {"input_0", "output"}
        assert all(address in SESSION.memory for address in self._addresses.values())
        SESSION.calls.append(("execute", self._plan))
        SESSION.lives[self._plan] = SESSION.lives.get(self._plan, 1000) - 1
        if SESSION.milliseconds[self._plan] < 0 or SESSION.lives[self._plan] < 0:
            return False
        SESSION.now += SESSION.milliseconds[self._plan]
        return True


class ICudaEngine:
    num_io_tensors: int

    def __init__(self, plan: bytes) -> None:
        self._plan = plan
        self.num_io_tensors = 2

    def create_execution_context(self) -> IExecutionContext:
        return IExecutionContext(self._plan)

    def get_tensor_name(self, index: int) -> str:
        return ("input_0", "output")[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (1, 8) if self._plan != b"open" else (-1, 8)

    def get_tensor_dtype(self, name: str) -> str:
        return SESSION.dtype

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == "input_0" else TensorIOMode.OUTPUT


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        pass

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine:
        return ICudaEngine(serialized_engine)


CLASSES = (
    Builder,
    IBuilderConfig,
    ICudaEngine,
    IExecutionContext,
    ILogger,
    INetworkDefinition,
    ITimingCache,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    OnnxParser,
    ParserError,
    Runtime,
    TensorIOMode,
)


def nptype(dtype: str) -> type:
    return {"HALF": np.float16, "FLOAT": np.float32}[dtype]


def module(version: str) -> SimpleNamespace:
    """What `import tensorrt` gives."""
    classes = {kind.__name__: kind for kind in CLASSES}
    return SimpleNamespace(__version__=version, nptype=nptype, **classes)


class Function:
    """A function of libcudart as ctypes has it."""

    argtypes: tuple[Any, ...] = ()
    restype: Any = None

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> Any:
        if self.name == "cudaGetErrorString":
            return b"no CUDA-capable device is detected"
        assert len(arguments) == len(self.argtypes), self.name
        SESSION.calls.append((self.name, *arguments))
        return getattr(self, f"_{self.name}", lambda *_: 0)(*arguments)

    def _cudaMalloc(self, pointer: Any, size: int) -> int:
        address = 4096 * (len(SESSION.calls) + 1)
        SESSION.memory[address] = size
        pointer._obj.value = address
        return 0

    def _cudaFree(self, address: int) -> int:
        del SESSION.memory[address]
        return 0

    def _cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, _: int) -> int:
        assert kind == 1
        assert SESSION.memory[target] == size
        SESSION.calls.append(("copied", ctypes.string_at(source, size)))
        return 0

    def _cudaStreamCreate(self, pointer: Any) -> int:
        pointer._obj.value = 7
        return 0

    def _cudaEventCreate(self, pointer: Any) -> int:
        pointer._obj.value = 100 + len(SESSION.calls)
        return 0

    def _cudaEventRecord(self, event: int, stream: int) -> int:
        assert stream == 7
        SESSION.stamps[event] = SESSION.now
        return 0

    def _cudaEventElapsedTime(self, pointer: Any, begin: int, end: int) -> int:
        pointer._obj.value = SESSION.stamps[end] - SESSION.stamps[begin]
        return 0


class Library:
    """libcudart as ctypes has it: each function is one object."""

    def __init__(self, failing: str = "") -> None:
        self._functions: dict[str, Any] = {}
        self._failing = failing

    def __getattr__(self, name: str) -> Any:
        if name not in self._functions:
            self._functions[name] = Failing() if name == self._failing else Function(name)
        return self._functions[name]


class Failing:
    """A function that always gives a status other than success."""

    argtypes: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> int:
        return 100


class Status(enum.IntEnum):
    """A status as cuda-python gives it."""

    cudaErrorInvalidValue = 1
