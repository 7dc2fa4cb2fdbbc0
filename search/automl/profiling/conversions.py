"""What it costs to go from float to integers and back, as a difference of two models.

In both models the same convolutions run. In one of them some of these read a value of the other
precision, each its own, in the other a value of theirs: what differs is the conversion with all
that the runtime does for it (ONNX Runtime lays floats out in blocks of channels, integers with the
channels last).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from automl.errors import MeasureError, nearest
from automl.latency import OpKey
from automl.profiling.graphs import Graph

_NARROW = 16
_IMAGE = 4  # inputs of at most so many channels come from outside, in plain layout
_DETAILS = ("quantize", "dequantize")


@dataclass(slots=True)
class MixedModel:
    """A float model, and which of its nodes stay float when it is made an integer one."""

    graph: Graph = field(default_factory=Graph)
    floats: set[str] = field(default_factory=set)

    def conv(
        self, data: str, in_channels: int, out_channels: int, exact: bool, relu: bool = False
    ) -> str:
        """A 1x1 convolution, float where `exact`."""
        out = self.graph.conv(data, in_channels, out_channels)
        self._mark(out, exact)
        return self._mark(self.graph.relu(out), exact) if relu else out

    def sum(self, parts: list[str], exact: bool) -> str:
        """The parts added up one after another."""
        total = parts[0]
        for part in parts[1:]:
            total = self._mark(self.graph.node("Add", total, part), exact)
        return total

    def _mark(self, value: str, exact: bool) -> str:
        if exact:
            self.floats.add(value)
        return value


def conversion(key: OpKey, copies: int, converted: bool, apart: bool) -> tuple[bytes, set[str]]:
    """One of the two models and the nodes that stay float in it.

    Args:
        key: Of op "convert".
        copies: How many conversions there are where `converted`.
        converted: Whether there are any.
        apart: Let no two convolutions take one value, as TensorRT would merge them.

    Raises:
        MeasureError: If the key's detail is neither "quantize" nor "dequantize".
    """
    if key.detail not in _DETAILS:
        raise MeasureError(f"no conversion {key.detail!r}{nearest(key.detail, _DETAILS)}")
    if key.in_size[1] == 1:
        return _rows(key, copies, converted)
    if key.detail == "quantize" and key.in_channels <= _IMAGE:
        return _images(key, copies, converted)
    return _maps(key, copies, converted, apart)


def _maps(key: OpKey, copies: int, converted: bool, apart: bool) -> tuple[bytes, set[str]]:
    mixed, channels = MixedModel(), key.in_channels
    exact = key.detail == "dequantize"  # of those that read the converted values
    count = copies if apart else 1

    def sources(number: int, exact: bool) -> list[str]:
        inputs = [mixed.graph.input(1, _NARROW, *key.in_size) for _ in range(count)]
        return [
            mixed.conv(inputs[i % count], _NARROW, channels, exact, relu=True)
            for i in range(number)
        ]

    others, own = sources(copies, not exact), sources(count, exact)
    values = others if converted else [own[i % count] for i in range(copies)]
    here = [mixed.conv(data, channels, _NARROW, exact) for data in (*values, *own)]
    there = [mixed.conv(data, channels, _NARROW, not exact) for data in others]
    outputs = mixed.sum(here, exact), mixed.sum(there, not exact)
    return mixed.graph.serialise(*outputs), mixed.floats


def _images(key: OpKey, copies: int, converted: bool) -> tuple[bytes, set[str]]:
    """The network's input, which is no convolution's output."""
    mixed = MixedModel()
    shape = (1, key.in_channels, *key.in_size)
    inputs = [mixed.graph.input(*shape) for _ in range(copies + 1 if converted else 1)]
    taken = [inputs[i % len(inputs)] for i in range(copies + 1)]
    parts = [mixed.conv(data, key.in_channels, _NARROW, False) for data in taken]
    return mixed.graph.serialise(mixed.sum(parts, False)), mixed.floats


def _rows(key: OpKey, copies: int, converted: bool) -> tuple[bytes, set[str]]:
    """Rows of features and vectors, whose layout never changes."""
    mixed = MixedModel()
    shape = (1, key.in_size[0], key.in_channels)
    exact = key.detail == "dequantize"
    inputs = [mixed.graph.input(*shape) for _ in range(copies + 1)]
    if not exact:
        taken = inputs if converted else inputs[:1] * (copies + 1)
        return mixed.graph.serialise(mixed.sum(taken, False)), mixed.floats
    whole = [mixed.sum([inputs[0], data], False) for data in inputs]
    values = whole[1:] if converted else [inputs[0]] * copies
    total = mixed.sum([inputs[0], *values], True)
    return mixed.graph.serialise(total, mixed.sum(whole, False)), mixed.floats
