"""Which node of an exported ONNX model is which operation of the PyTorch network.

Exporters rename, fuse and fold as they like, so names are not relied on: both are run on the same
input, and what computed the same numbers is the same.
"""

from __future__ import annotations

import itertools
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
    inputs: Mapping[Address, Sequence[Array]]
    outputs: Mapping[Address, Array]


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
    finder = _Finder(model, run_all(model, recorded.example))
    return {
        address: finder.match(step, recorded.inputs[address], recorded.outputs[address])
        for address, step in recorded.steps.items()
    }


def run_all(model: onnx.ModelProto, example: Feed) -> dict[str, Array]:
    """Every float value of the model on one input, computed without optimisations."""
    import onnxruntime

    produced = [name for node in model.graph.node for name in node.output if name]
    options = checking_options()
    options.log_severity_level = 4
    level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(
        _giving(model, produced), options, providers=["CPUExecutionProvider"]
    )
    given = by_name(session, example)
    computed = map(np.asarray, session.run(produced, given))
    found = {**given, **dict(zip(produced, computed, strict=True))}
    return {name: value for name, value in found.items() if value.dtype == np.float32}


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
        self.inputs: dict[Address, list[Array]] = {}
        self.outputs: dict[Address, Array] = {}

    def given(
        self, step: LeafCall, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if step.address in self._wanted:
            self.inputs[step.address] = _arrays((args, kwargs))
        return args, kwargs

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if step.address in self._wanted:
            self.steps[step.address] = step
            self.outputs[step.address] = _arrays(output)[0]


def _arrays(tree: Any) -> list[Array]:
    """Copies of the tensors, for some operations work in place."""
    leaves = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
    return [leaf.detach().clone().numpy() for leaf in leaves]


class _Finder:
    def __init__(self, model: onnx.ModelProto, values: dict[str, Array]) -> None:
        self._values = values
        self._producers: dict[str, onnx.NodeProto] = {
            name: node for node in model.graph.node for name in node.output
        }
        self._taken: set[str] = set()

    def match(self, step: LeafCall, inputs: Sequence[Array], output: Array) -> OperationMatch:
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

    def _value(self, step: LeafCall, output: Array) -> str:
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

    def _inside(self, name: str, padded: Array) -> bool:
        """Whether a value with zeros around it is this one: exporters let convolutions pad."""
        value = self._values.get(name)
        if value is None or value.ndim != padded.ndim or value.shape[:2] != padded.shape[:2]:
            return False
        room = [after - before for before, after in zip(value.shape, padded.shape, strict=True)]
        if min(room) < 0:
            return False
        for corner in itertools.product(*(range(extent + 1) for extent in room)):
            ends = zip(corner, value.shape, strict=True)
            place = tuple(slice(first, first + extent) for first, extent in ends)
            rest = padded.copy()
            rest[place] = 0
            if not rest.any() and _alike(value, padded[place]):
                return True
        return False

    def _near(self, name: str, wanted: Array) -> bool:
        value = self._values.get(name)
        return value is not None and value.shape == wanted.shape and _alike(value, wanted)


def _alike(value: Array, wanted: Array) -> bool:
    scale = float(np.abs(wanted).max(initial=0.0))
    return float(np.abs(value - wanted).max(initial=0.0)) <= _TOLERANCE * scale
