"""Which node of an exported ONNX model is which operation of the PyTorch network.

Exporters rename, fuse and fold as they like, so names are not relied on: both are run on the same
input, and what computed the same numbers is the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils._pytree import tree_leaves

from automl.errors import ModelError
from automl.export.session import Feed, by_name, checking_options, fed
from automl.network import Address, ForwardTracer, LeafCall, base_name, names
from automl.profiling import MOVES

Array = NDArray[np.float32]

#: Most elements of a value that is kept whole; of a larger one only some of its channels are.
KEPT: Final = 1 << 18
#: Elements of values that a file is asked for at once.
TOGETHER: Final = 1 << 25
#: Values of the two runtimes may differ by this share of the value's scale.
_TOLERANCE: Final = 1e-4
_RELUS: Final = names("relu hardtanh clamp clamp_min threshold")
#: What an operation becomes, where two operators may have computed the same numbers.
_BECOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "conv": ("Conv",),
    "linear": ("Gemm", "MatMul", "Add"),
    "add": ("Add", "Sum"),
    "batch_norm": ("BatchNormalization", "Conv"),
    "cat": ("Concat",),
    "max_pool2d_with_indices": ("MaxPool",),
    **dict.fromkeys(_RELUS, ("Relu", "Clip", "Max", "Min")),
}


@dataclass(frozen=True, slots=True)
class OperationMatch:
    """An operation of the network in the ONNX model.

    Attributes:
        node: That takes its operands.
        value: Name of its output.
        positions: For each tensor argument, the input of the node that it is; None for those that
            are none (weights, constants).
    """

    node: onnx.NodeProto
    value: str
    positions: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """What is kept of a tensor to tell it from others.

    Attributes:
        shape: Of the whole tensor.
        low, high, mean: Of all its elements; 0 where there are none.
        step: Of its channels (the second dimension) each so many-th is kept, a power of two.
        kept: These channels.
    """

    shape: tuple[int, ...]
    low: float
    high: float
    mean: float
    step: int
    kept: Array

    @classmethod
    def of(cls, whole: Array) -> Value:
        """What is kept of a tensor; a copy."""
        step = 1
        if whole.ndim > 1:
            most = 1 << (whole.shape[1] - 1).bit_length()
            step = min(most, 1 << (-(-whole.size // KEPT) - 1).bit_length())
        if not whole.size:
            return cls(whole.shape, 0.0, 0.0, 0.0, 1, whole.copy())
        mean = float(whole.sum(dtype=np.float64)) / whole.size
        kept = (whole[:, ::step] if step > 1 else whole).copy()
        return cls(whole.shape, float(whole.min()), float(whole.max()), mean, step, kept)

    @property
    def scale(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))

    @property
    def finite(self) -> bool:
        """Whether all elements are numbers."""
        return bool(np.isfinite((self.low, self.high)).all())


@dataclass(frozen=True, slots=True)
class RecordedValues:
    """Inputs and outputs of operations of a network in one pass.

    Attributes:
        example: The network's input, as its file is given it.
        steps: The operations by address.
        inputs: Their tensor arguments, as they were given.
        outputs: Their (first) outputs.
    """

    example: Feed
    steps: Mapping[Address, LeafCall]
    inputs: Mapping[Address, Sequence[Value]]
    outputs: Mapping[Address, Value]


def record_values(
    network: nn.Module, wanted: Collection[Address], example: torch.Tensor
) -> RecordedValues:
    """Run the network once and keep the inputs and outputs of the wanted operations."""
    tracer = _Values(network, wanted)
    with tracer.attached():
        network(example)
    return RecordedValues(fed(network, example), tracer.steps, tracer.inputs, tracer.outputs)


def find_operations(
    model: onnx.ModelProto, recorded: RecordedValues
) -> dict[Address, OperationMatch]:
    """The ONNX nodes of recorded operations.

    Args:
        model: Exported from the same network, batch 1.
        recorded: Of an input of which neither all values nor all outputs are alike.

    Raises:
        ModelError: If an operation is not there, naming it.
    """
    finder = _Finder(model, _all_values(model, recorded.example))
    return {
        address: finder.match(step, recorded.inputs[address], recorded.outputs[address])
        for address, step in recorded.steps.items()
    }


def run_all(model: onnx.ModelProto, example: Feed) -> dict[str, Array]:
    """Every float value of the model on one input, computed without optimisations."""
    produced = [name for node in model.graph.node for name in node.output if name]
    found = _run(model, produced, example)
    return {name: value for name, value in found.items() if value.dtype == np.float32}


def _run(model: onnx.ModelProto, wanted: Sequence[str], example: Feed) -> dict[str, Array]:
    """What is given and these values, by name, computed without optimisations."""
    import onnxruntime

    options = checking_options()
    options.log_severity_level = 4
    level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(
        _giving(model, wanted), options, providers=["CPUExecutionProvider"]
    )
    given = by_name(session, example)
    computed = map(np.asarray, session.run(wanted, given))
    return {**given, **dict(zip(wanted, computed, strict=True))}


def _all_values(model: onnx.ModelProto, example: Feed) -> dict[str, Value]:
    """What is kept of every float value; asked for a few at a time, for together they are as
    much as training the network takes.
    """
    sizes = _sizes(model)
    found: dict[str, Value] = {}
    batch, elements = list[str](), 0
    produced = [name for node in model.graph.node for name in node.output if name]
    for name in produced:
        size = sizes.get(name, 1)
        if batch and elements + size > TOGETHER:
            found |= _kept_of(_run(model, batch, example))
            batch, elements = [], 0
        batch.append(name)
        elements += size
    return found | _kept_of(_run(model, batch, example))


def _kept_of(values: Mapping[str, Array]) -> dict[str, Value]:
    floats = {name: value for name, value in values.items() if value.dtype == np.float32}
    return {name: Value.of(value) for name, value in floats.items()}


def _sizes(model: onnx.ModelProto) -> dict[str, int]:
    """Elements of the values whose shapes the file tells."""
    told = {each.name: each.type.tensor_type.shape.dim for each in model.graph.value_info}
    return {name: math.prod(max(dim.dim_value, 1) for dim in dims) for name, dims in told.items()}


def _giving(model: onnx.ModelProto, names: Sequence[str]) -> bytes:
    """The model serialised with these values as its outputs; a copy would take its size again."""
    graph, own = model.graph, onnx.GraphProto()
    own.output.extend(graph.output)
    try:
        del graph.output[:]
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        content: bytes = model.SerializeToString()
    finally:
        del graph.output[:]
        graph.output.extend(own.output)
    return content


def lost(step: LeafCall, what: str) -> ModelError:
    """What is wrong where an input or output of an operation is not in the file."""
    where = step.module or f"{step.op} of {step.address[0] or 'the model'}"
    return ModelError(
        f"the ONNX exporter leaves no value where {where} {what}:"
        " this model cannot be exported with integer layers"
    )


class _Values(ForwardTracer):
    """Inputs and outputs of the wanted operations."""

    def __init__(self, network: nn.Module, wanted: Collection[Address]) -> None:
        super().__init__(network)
        self._wanted = frozenset(wanted)
        self.steps: dict[Address, LeafCall] = {}
        self.inputs: dict[Address, list[Value]] = {}
        self.outputs: dict[Address, Value] = {}

    def given(
        self, step: LeafCall, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if step.address in self._wanted:
            self.inputs[step.address] = _values((args, kwargs))
        return args, kwargs

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if step.address in self._wanted:
            self.steps[step.address] = step
            self.outputs[step.address] = _values(output)[0]


def _values(tree: Any) -> list[Value]:
    """What is kept of the tensors."""
    leaves = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
    return [Value.of(leaf.detach().numpy()) for leaf in leaves]


class _Finder:
    def __init__(self, model: onnx.ModelProto, values: dict[str, Value]) -> None:
        self._values = values
        self._producers: dict[str, onnx.NodeProto] = {
            name: node for node in model.graph.node for name in node.output
        }
        self._taken: set[str] = set()

    def match(self, step: LeafCall, inputs: Sequence[Value], output: Value) -> OperationMatch:
        value = self._value(step, output)
        node = self._producers[value]
        if step.op == "linear" and node.op_type == "Add":
            node = self._product(node)
        while node.op_type in MOVES and node.input[0] in self._producers:
            if any(self._near(node.input[0], operand) for operand in inputs):
                break  # the move is the operation itself
            value = node.input[0]
            node = self._producers[value]
        positions: list[int | None] = []
        for operand in inputs:
            free = [i for i, _ in enumerate(node.input) if i not in positions]
            near = [i for i in free if self._near(node.input[i], operand)]
            if not near and node.op_type == "Conv":
                near = [i for i in free if self._inside(node.input[i], operand)]
            positions.append(near[0] if near else None)
        return OperationMatch(node, value, tuple(positions))

    def _value(self, step: LeafCall, output: Value) -> str:
        """The first value with the same numbers, of an operator that the operation may become."""
        near = [
            name for name in self._producers if name not in self._taken and self._near(name, output)
        ]
        likely = _BECOMES.get(base_name(step.op), ())
        fitting = [name for name in near if self._producers[name].op_type in likely]
        if not near or (step.module and not fitting):
            raise lost(step, "writes")
        found: str = (fitting or near)[0]
        self._taken.add(found)
        return found

    def _product(self, addition: onnx.NodeProto) -> onnx.NodeProto:
        """The MatMul whose bias an Add adds."""
        for name in addition.input:
            if name in self._producers and self._producers[name].op_type == "MatMul":
                return self._producers[name]
        return addition

    def _inside(self, name: str, padded: Value) -> bool:
        """Whether a value with zeros around it is this one: exporters let convolutions pad."""
        value = self._values.get(name)
        if value is None or len(value.shape) != len(padded.shape):
            return False
        if value.shape[:2] != padded.shape[:2]:
            return False
        room = [after - before for before, after in zip(value.shape, padded.shape, strict=True)]
        if min(room) < 0:
            return False
        inner, outer = _common(value, padded)
        for corner in itertools.product(*(range(extent + 1) for extent in room)):
            ends = zip(corner, inner.shape, strict=True)
            place = tuple(slice(first, first + extent) for first, extent in ends)
            rest = outer.copy()
            rest[place] = 0
            if not rest.any() and _alike(inner, outer[place], padded.scale):
                return True
        return False

    def _near(self, name: str, wanted: Value) -> bool:
        value = self._values.get(name)
        if value is None or value.shape != wanted.shape:
            return False
        ends = (value.low - wanted.low, value.high - wanted.high, value.mean - wanted.mean)
        if max(map(abs, ends)) > _TOLERANCE * wanted.scale:
            return False
        return _alike(value.kept, wanted.kept, wanted.scale)


def _common(one: Value, other: Value) -> tuple[Array, Array]:
    """The channels that are kept of both; steps are powers of two."""
    step = max(one.step, other.step)
    if step == 1:
        return one.kept, other.kept
    return one.kept[:, :: step // one.step], other.kept[:, :: step // other.step]


def _alike(value: Array, wanted: Array, scale: float) -> bool:
    return float(np.abs(value - wanted).max(initial=0.0)) <= _TOLERANCE * scale
