"""How a device adds up products of bytes, and the scheme that its tables are measured in for it."""

from __future__ import annotations

import math
from typing import Final

from automl.errors import TableError
from automl.latency import LatencyTable, OpKey, TableHeader
from automl.profiling.microbench import probe
from automl.profiling.runner import Limits, Runner
from automl.profiling.runtimes import find_runtime, runtime_of_table

#: The scheme whose kernels saturate on some processors, that of 7-bit weights, which is computed by
#: the same kernels, and that of exact kernels.
SATURATING, NARROW, EXACT = "qdq-u8s8", "qdq-u8s7", "qdq-u8u8"
_LIMITS: Final = Limits(spread=0.02, seconds=2.0)


def _key(op: str, channels: int, kernel: int, size: int) -> OpKey:
    return OpKey(
        op,
        channels,
        channels,
        (kernel, kernel),
        padding=(kernel // 2, kernel // 2),
        in_size=(size, size),
        out_size=(size, size),
        precision="int8",
    )


#: What both kinds of kernels are timed on.
COMPARED: Final = (
    _key("conv2d", 32, 3, 16),
    _key("conv2d", 64, 1, 16),
    _key("conv2d", 128, 3, 8),
    OpKey("linear", 256, 256, precision="int8"),
)


def is_settled(header: TableHeader) -> bool:
    """Whether all is known of how a table's device computes integers, or nothing depends on it."""
    runtime = runtime_of_table(header.runtime)
    may = runtime.measures and runtime.takes_onnx
    return header.saturates is not None or not may or runtime.scheme != SATURATING


def settle_arithmetic(table: LatencyTable, runner: Runner) -> None:
    """Note in the header how integers are computed, and the quantization scheme that this asks for.

    Where sums saturate, integers of 7-bit weights are timed beside exact kernels, and the quicker
    are taken. A table that has integer rows already was measured by kernels that are those of 7-bit
    weights.

    Raises:
        TableError: The table's integer rows were measured on a device that adds up otherwise.
        MeasureError: If the device stops answering.
    """
    header, info = table.header, runner.info
    scheme = header.scheme or find_runtime(info.runtime).scheme
    if header.saturates is None and info.saturates is not None:
        noted: dict[str, object] = {"saturates": info.saturates, "scheme": scheme}
        if info.saturates and scheme == SATURATING:
            noted["scheme"] = NARROW
            if not any(row.key.precision == "int8" for row in table.rows):
                cost = exact_cost(runner)
                noted["exact_cost"] = None if cost is None else round(cost, 3)
                noted["scheme"] = EXACT if cost is not None and cost < 1.0 else NARROW
        table.set_header(header.model_copy(update=noted))
    elif info.saturates not in (None, header.saturates):
        raise TableError(
            f"table {table.name!r} holds rows of a device whose sums of integers"
            f" {'saturate' if header.saturates else 'do not saturate'}, and this one's"
            f" {'do' if info.saturates else 'do not'}: they do not mix;"
            " profile into a table of another name"
        )
    elif header.scheme is None:
        table.set_header(header.model_copy(update={"scheme": scheme}))


def exact_cost(runner: Runner) -> float | None:
    """Time of exact kernels over that of those that may saturate; None where it cannot be told.

    The geometric mean over `COMPARED`.

    Raises:
        MeasureError: If the device stops answering.
    """
    name = runner.info.runtime
    probes = [probe(key, name, scheme) for key in COMPARED for scheme in (NARROW, EXACT)]
    found = {one.probe: one.seconds for one in runner.run(probes, _LIMITS) if not one.error}
    pairs = [(found.get(2 * place), found.get(2 * place + 1)) for place in range(len(COMPARED))]
    logs = [math.log(exact / narrow) for narrow, exact in pairs if narrow and exact]
    return math.exp(sum(logs) / len(logs)) if logs else None
