"""A recorded forward pass as plain values: operations, what they read and write, and labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from automl.network.channel_dims import Dims
from automl.network.forward_tracer import Address, LeafCall
from automl.network.heads import Heads, ProductLines
from automl.network.outputs import Signature
from automl.network.over_channels import Maximum
from automl.network.sizes import SizeNotes
from automl.network.union_find import UnionFind

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Call:
    """One operation with its inputs and outputs.

    Attributes:
        step: Where and what.
        inputs, outputs: Value numbers; inputs that are no operation's output are left out.
        in_shapes, out_shapes: Shapes of those values.
        in_labels, out_labels: Labels along the channels of the first input and first output.
        arguments: The operator's plain arguments (numbers, lists), tensors as None.
        known: False where labels could not be followed through it.
        operands: Shapes of all tensors that it takes, weights of functional calls included.
        in_dims, out_dims: Dimensions along which the channels of the first input and of the first
            output lie.
        strided: Whether the first input is a view whose data lie in another order.
        weights: Names of the parameters that it reads, as they are or as something made of them.
    """

    step: LeafCall
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    in_shapes: tuple[tuple[int, ...], ...]
    out_shapes: tuple[tuple[int, ...], ...]
    in_labels: Tensor
    out_labels: Tensor
    arguments: tuple[Any, ...] = ()
    known: bool = True
    operands: tuple[tuple[int, ...], ...] = ()
    in_dims: Dims = ()
    out_dims: Dims = ()
    strided: bool = False
    weights: tuple[str, ...] = ()


@dataclass(slots=True)
class Trace:
    """What one forward pass did.

    Attributes:
        calls: Operations in order.
        union: The labels and what became one.
        heads: Which channels are laid out in heads.
        sizes: Where modules ask for sizes and name them.
        layouts: Per operation on a value of more than two dimensions, the value's labels.
        products: Per product of values, the lines of labels that its work depends on; of an
            attention those of both its products.
        bindings: Labels of each layer's sides: (module, "in" | "out" | "through") -> labels.
        maxima: Where maxout units take the largest of their pieces.
        modules: For each module that is not a layer: (values that went in, values that came out);
            constants are left out, and () where the module runs twice or where one of those that
            came out is a constant.
        signatures: How each of those modules is called.
        tied: Layers whose weight another layer holds too -> the first of those that hold it.
        output: Value numbers of the network's outputs, as far as they are operations' outputs.
        output_shapes: Shapes of all outputs.
        asides: Parameters that operations read which no input of the network goes into -> the
            modules around the first of these, outermost first.
    """

    calls: list[Call] = field(default_factory=list)
    union: UnionFind = field(default_factory=UnionFind)
    heads: Heads = field(init=False)
    sizes: SizeNotes = field(default_factory=SizeNotes)
    layouts: dict[Address, Tensor] = field(default_factory=dict)
    products: dict[Address, tuple[ProductLines, ...]] = field(default_factory=dict)
    bindings: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    maxima: list[Maximum] = field(default_factory=list)
    modules: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    signatures: dict[str, Signature] = field(default_factory=dict)
    tied: dict[str, str] = field(default_factory=dict)
    output: tuple[int, ...] = ()
    output_shapes: tuple[tuple[int, ...], ...] = ()
    asides: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.heads = Heads(self.union)

    def producers(self) -> dict[int, Call]:
        """The call whose output each value is."""
        return {value: call for call in self.calls for value in call.outputs}

    def uses(self) -> Counter[str]:
        """How often each layer's weights are used, by it and by those that hold them too."""
        shared = Counter(self.tied.get(call.step.module, call.step.module) for call in self.calls)
        return Counter(
            {
                call.step.module: shared[self.tied.get(call.step.module, call.step.module)]
                for call in self.calls
            }
        )

    def runs_as(self, other: Trace) -> bool:
        """Whether the same operations ran, at the same addresses."""
        return [call.step for call in self.calls] == [call.step for call in other.calls]

    def laid_out_as(self, other: Trace) -> Trace:
        """This trace with the channels where those of another one lie, of the same operations."""
        pairs = zip(self.calls, other.calls, strict=True)
        calls = [replace(own, in_dims=its.in_dims, out_dims=its.out_dims) for own, its in pairs]
        return replace(self, calls=calls)

    def alive(self, *, branches: bool = False) -> list[Call]:
        """The calls that the output depends on; a runtime leaves the others out.

        With `branches` also those that the code read a number from, which it may decide by.
        """
        wanted, alive = set(self.output), []
        for call in reversed(self.calls):
            if wanted.intersection(call.outputs) or (branches and not call.outputs):
                wanted.update(call.inputs)
                alive.append(call)
        return alive[::-1]

    def users(self) -> dict[int, list[Call]]:
        """The calls whose input each value is."""
        result: dict[int, list[Call]] = {}
        for call in self.calls:
            for value in call.inputs:
                result.setdefault(value, []).append(call)
        return result


def addresses(trace: Trace) -> dict[int, Address]:
    """The operation whose first output each value is."""
    return {call.outputs[0]: call.step.address for call in trace.calls if call.outputs}
