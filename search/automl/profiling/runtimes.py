"""What is known of each runtime: one row here, beside one class in the worker.

A runtime that measures has a class in `worker.py` (or in a file beside it) under the name of its
row; the worker runs on boards without automl, and a board is sent automl's own files alone. So
another package may describe a runtime with an entry point in "automl.runtimes" whose value takes
nothing and gives a `Runtime` (held by `automl.testing.RuntimeContract`): its tables are then priced
and exported for as the row says. To measure with it, its class has to be added to the worker here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from automl.errors import UsageError, nearest
from automl.latency import OpKey
from automl.methods import Method, Registry

#: Timed before every batch: rows whose batch finds it slower than the first did are doubtful.
ANCHOR: Final = OpKey("conv2d", 32, 32, (3, 3), padding=(1, 1), in_size=(16, 16), out_size=(16, 16))


@dataclass(frozen=True, slots=True)
class Runtime:
    """What executes a network on a device.

    Attributes:
        name: As it is asked for, and as the headers of tables have it.
        title: As people write it.
        precisions: A new table's, the one of floats first.
        offered: All that operators can be measured in; () where operators cannot be measured.
        scheme: In which its integer kernels want a network quantised, of `integer.SCHEMES`.
        anchor: The operator that tells whether a device is slower than it was.
        batch: Keys that are measured in one request.
        measures: Whether the worker has a class for it; else its tables come from elsewhere.
        takes_onnx: Whether it runs ONNX models as they are.
        merges: Whether it makes one operator of several that read one input.
        silence: Seconds in which it loads a model, or runs one once, on the slowest of boards.
        gpu: Whether a GPU computes: then CPU threads mean nothing.
    """

    name: str
    title: str
    precisions: tuple[str, ...] = ("fp32",)
    offered: tuple[str, ...] = ()
    scheme: str = "qdq-s8s8"
    anchor: OpKey = ANCHOR
    batch: int = 32
    measures: bool = False
    takes_onnx: bool = False
    merges: bool = False
    silence: float = 300.0
    gpu: bool = False

    @property
    def dense(self) -> str:
        """What floats are computed in in a table that it measured."""
        return self.precisions[0]


def onnxruntime() -> Runtime:
    """The row of ONNX Runtime.

    It fuses a ReLU into unsigned values, or into signed ones whose zero point is their least.
    """
    return Runtime(
        "onnxruntime",
        "ONNX Runtime",
        offered=("fp32", "int8"),
        scheme="qdq-u8s8",
        measures=True,
        takes_onnx=True,
    )


def tensorrt() -> Runtime:
    """The row of TensorRT: a GPU needs a larger anchor, and each model takes seconds to build."""
    anchor = OpKey(
        "conv2d",
        256,
        256,
        (3, 3),
        padding=(1, 1),
        in_size=(28, 28),
        out_size=(28, 28),
        precision="fp16",
    )
    return Runtime(
        "tensorrt",
        "TensorRT",
        precisions=("fp16",),
        offered=("fp16", "int8"),
        scheme="qdq-s8s8-residual",
        anchor=anchor,
        batch=8,
        measures=True,
        takes_onnx=True,
        merges=True,
        silence=1800.0,
        gpu=True,
    )


def litert() -> Runtime:
    """The row of LiteRT: signed activations with a zero point, the numbers of unsigned ones."""
    return Runtime("litert", "LiteRT", scheme="qdq-u8s8", measures=True)


def tflite() -> Runtime:
    """The row of TFLite, LiteRT's former name, under which others measured."""
    return Runtime("tflite", "TFLite", precisions=("fp32", "int8"), scheme="qdq-u8s8")


def ncnn() -> Runtime:
    """The row of ncnn."""
    return Runtime("ncnn", "ncnn", precisions=("fp32", "int8"))


def _entry(name: str, paper: str, summary: str) -> Method:
    return Method(name, summary, paper, f"automl.profiling.runtimes:{name}")


RUNTIMES: Final = Registry[Runtime](
    "runtimes",
    (
        _entry(
            "onnxruntime",
            "https://onnxruntime.ai",
            "Processors, x86-64 and ARM. Measures operators and whole networks, floats and int8.",
        ),
        _entry(
            "tensorrt",
            "https://developer.nvidia.com/tensorrt",
            "NVIDIA GPUs. Measures operators and whole networks, fp16 and int8.",
        ),
        _entry(
            "litert",
            "https://ai.google.dev/edge/litert",
            "Phones and boards. Measures whole networks that come as .tflite files.",
        ),
        _entry(
            "tflite",
            "https://www.tensorflow.org/lite",
            "LiteRT's former name. Tables that others measured, and their profiles.",
        ),
        _entry(
            "ncnn",
            "https://github.com/Tencent/ncnn",
            "Phones and boards. Tables that others measured.",
        ),
    ),
)


@cache
def find_runtime(name: str) -> Runtime:
    """The row of that name.

    Raises:
        UsageError: There is none; names the nearest.
    """
    return RUNTIMES.make(name)


def measuring_runtime(name: str) -> Runtime:
    """The row of a runtime that can be measured with.

    Raises:
        UsageError: There is none, or the worker has no class for it; names those that can.
    """
    found = find_runtime(name)
    if not found.measures:
        others = [each for each in RUNTIMES.names() if find_runtime(each).measures]
        raise UsageError(
            f"nothing here measures with {found.title}: its tables come from elsewhere"
            f"{nearest('', others)}"
        )
    return found


def runtime_of_table(name: str) -> Runtime:
    """The row of the runtime that a table names; a plain one where nothing is known of it."""
    return find_runtime(name) if name in RUNTIMES.names() else Runtime(name, name)
