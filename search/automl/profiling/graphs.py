"""Tiny ONNX models, node by node, with weights that are random but reproducible."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

OPSET = 20
#: ONNX's type of the tensors of a precision. Runtimes with strongly typed networks compute in it.
_TYPES: Final = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}
_IR_VERSION = 9  # read by ONNX Runtime 1.17 and later, which older boards have


class Graph:
    """A model in the making. Methods add nodes and return the name of their output.

    Args:
        precision: Of inputs, weights and what is computed: "fp32" or "fp16".
    """

    def __init__(self, precision: str = "fp32") -> None:
        self._type = _TYPES[precision]
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    def input(self, *shape: int) -> str:
        """A float input, filled with random numbers when it is timed."""
        name = f"input_{len(self._inputs)}"
        self._inputs.append(helper.make_tensor_value_info(name, self._type, shape))
        return name

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        return self.nodes(op_type, 1, *inputs, **attributes)[0]

    def nodes(self, op_type: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """A node with so many outputs."""
        name = f"{op_type.lower()}_{len(self._nodes)}"
        names = [name, *(f"{name}_{number}" for number in range(1, count))]
        self._nodes.append(helper.make_node(op_type, list(inputs), names, **attributes))
        return names

    def weight(self, *shape: int, fan_in: int = 1) -> str:
        """Random weights that keep the scale of what goes through them; no two are the same."""
        size = int(np.prod(shape))
        noise = np.roll(_noise(), 61 * (len(self._weights) + 1))
        values = np.resize(noise, size) / np.float32(np.sqrt(fan_in))
        return self._constant(values.reshape(shape))

    def positive(self, *shape: int) -> str:
        """Random weights between a half and one and a half, as scales and variances are."""
        size = int(np.prod(shape))
        values = np.resize(np.roll(_noise(), 61 * (len(self._weights) + 1)), size)
        return self._constant((1.0 + 0.5 * np.tanh(values)).astype(np.float32).reshape(shape))

    def integers(self, *values: int) -> str:
        """A constant vector of 64-bit integers."""
        return self._constant(np.asarray(values, dtype=np.int64), TensorProto.INT64)

    def numbers(self, *values: float) -> str:
        """A constant vector of 32-bit floats, whatever the model computes in."""
        return self._constant(np.asarray(values, dtype=np.float32), TensorProto.FLOAT)

    def scalar(self, value: float) -> str:
        """A constant of no dimensions."""
        return self._constant(np.asarray(value, dtype=np.float32))

    def conv(
        self,
        data: str,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, ...] = (1, 1),
        *,
        groups: int = 1,
        **attributes: Any,
    ) -> str:
        """A convolution with a bias."""
        fan_in = in_channels // groups * prod(kernel)
        weight = self.weight(out_channels, in_channels // groups, *kernel, fan_in=fan_in)
        bias = self.weight(out_channels, fan_in=16)
        return self.node("Conv", data, weight, bias, group=groups, **attributes)

    def relu(self, data: str) -> str:
        """A ReLU, which runtimes fuse into what comes before."""
        return self.node("Relu", data)

    def floats(self, data: str) -> str:
        """Numbers or truth values as floats of the model."""
        return self.node("Cast", data, to=self._type)

    def sum(self, parts: Sequence[str]) -> str:
        """The parts added up one after another, as accumulating convolutions do it."""
        return functools.reduce(lambda total, part: self.node("Add", total, part), parts)

    def serialise(self, *outputs: str) -> bytes:
        """The model with the given outputs, as bytes."""
        graph = helper.make_graph(
            self._nodes,
            "probe",
            self._inputs,
            [helper.make_tensor_value_info(name, self._type, None) for name in outputs],
            self._weights,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION
        )
        content: bytes = model.SerializeToString()
        return content

    def _constant(
        self, values: NDArray[np.float32] | NDArray[np.int64], kind: int | None = None
    ) -> str:
        kind = self._type if kind is None else kind
        stored = values.astype(helper.tensor_dtype_to_np_dtype(kind))
        name = f"weight_{len(self._weights)}"
        tensor = TensorProto(name=name, data_type=kind, dims=values.shape)
        tensor.raw_data = stored.tobytes()
        self._weights.append(tensor)
        return name


@functools.cache
def _noise() -> NDArray[np.float32]:
    """What weights are cut from: short, so that a model compresses to little on its way."""
    return np.random.default_rng(0).standard_normal(4093).astype(np.float32)
