"""One forward pass, recorded: operations, the values between them, and the labels of channels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from automl.network.channel_dims import (
    Dims,
    Layout,
    Strides,
    channel_dims,
    lies_in_order,
    line_of,
    restrided,
)
from automl.network.constants import Constants
from automl.network.forward_tracer import Address, ForwardTracer, LeafCall
from automl.network.heads import Heads, ProductLines, product_labels
from automl.network.labels import (
    CREATES,
    INPUT,
    OUTPUT,
    STEPS,
    WRITTEN,
    Rules,
    UnionFind,
    constant,
)
from automl.network.layer_rules import LayerRules
from automl.network.layers import RECURRENT
from automl.network.outputs import Here, Signature, output_tensors
from automl.network.over_channels import Statistics
from automl.network.picking import picked
from automl.network.sizes import SizeCalls, SizeNotes
from automl.network.stretches import Stretches
from automl.network.weights_read import WeightsRead, tied_layers

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


def record(model: nn.Module, inputs: Tensor, *, labelled: bool = True) -> Trace:
    """Run the model once on `inputs` (batch 1, on the CPU) and record what happened.

    Without `labelled` only operations and shapes are recorded, and every label is `NONE`.
    """
    unread = _unread(record(model, inputs, labelled=False)) if labelled else frozenset()
    recorder = _Recorder(model, inputs, labelled, unread)
    with recorder.attached(), SizeCalls(recorder.size_called):
        output = model(inputs)
    return recorder.finish(output)


def _unread(trace: Trace) -> frozenset[Address]:
    """Operations that the outputs do not depend on: what they do to channels does not matter."""
    read = {call.step.address for call in trace.alive(branches=True)}
    return frozenset(call.step.address for call in trace.calls) - read


class _Recorder(ForwardTracer):
    def __init__(
        self, model: nn.Module, inputs: Tensor, labelled: bool, unread: frozenset[Address]
    ) -> None:
        super().__init__(model)
        self._unread = unread
        self._weights = WeightsRead(model)
        self.trace = Trace(tied=tied_layers(model), asides=self._weights.asides)
        self._labelled = labelled
        self._rules = Rules(self.trace.union, self.trace.heads)
        self._layers = LayerRules(self.trace.heads, self.trace.bindings, self.trace.tied)
        self._constants = Constants(model, self.trace.heads)
        self._sized: dict[int, Tensor] = {}  # by size call: what constants alone made
        self._statistics = Statistics(self.trace.heads, self.trace.bindings)
        self._ids: dict[int, int] = {}
        self._labels: dict[int, Tensor] = {}
        self._dims: dict[int, Dims] = {}
        self._strides: dict[int, Strides] = {}  # an operation in place changes its input's
        self._alive: list[Tensor] = []  # an id is only unique while its tensor lives
        self._entered: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool]] = {}
        self._number_input(inputs)

    def _number_input(self, inputs: Tensor) -> None:
        channels = inputs.shape[1] if inputs.dim() > 1 else 1
        line = self.trace.union.fresh(channels)
        self.trace.union.freeze(line, INPUT)
        shape = [1, -1, *[1] * (inputs.dim() - 2)] if inputs.dim() > 1 else [-1] * inputs.dim()
        dims = (min(1, inputs.dim() - 1),) if inputs.dim() else ()
        self._number(inputs, line.view(shape).expand(inputs.shape), dims)

    def finish(self, output: Any) -> Trace:
        tensors = output_tensors(output)
        known = [self._ids[id(tensor)] for tensor in tensors if id(tensor) in self._ids]
        for value in known:
            self.trace.union.freeze(self._labels[value], OUTPUT)
        self.trace.bindings |= self._constants.bindings()
        for number, tensor in self._sized.items():
            self.trace.sizes.relabel(number, self._constants.labelled(tensor))
        self.trace.heads.settle()
        self.trace.output = tuple(known)
        self.trace.output_shapes = tuple(tuple(tensor.shape) for tensor in tensors)
        return self.trace

    def enter(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.trace.sizes.begin(name)
        self._statistics.begin(name)
        leaves = tree_flatten((args, kwargs))[0]
        for leaf in leaves if not name else ():  # the tensors that a row was taken apart into
            if isinstance(leaf, Tensor) and id(leaf) not in self._ids:
                self._number_input(leaf)
        places = tuple(
            place
            for place, leaf in enumerate(leaves)
            if isinstance(leaf, Tensor) and id(leaf) in self._ids
        )
        values = tuple(self._ids[id(leaves[place])] for place in places)
        self._entered[name] = (values, places, len(leaves) == 1 and not kwargs)

    def leave(self, name: str, output: Any) -> None:
        values, places, alone = self._entered[name]
        if name in self.trace.modules:  # called twice: no block, no single place
            values = places = ()
        single = sum(isinstance(leaf, Tensor) for leaf in tree_leaves(output)) == 1
        form = tree_map(lambda leaf: Here() if isinstance(leaf, Tensor) else leaf, output)
        plain = alone and isinstance(output, Tensor)
        self.trace.modules[name] = (values, self._values(output))
        self.trace.signatures[name] = Signature(places, plain, form, single)

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        read = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
        is_layer = isinstance(func, nn.Module)
        self._statistics.seen(step.op, step.address[0])
        if is_layer and id(read[0]) not in self._ids:  # reads a tensor that was filled in place
            filled = constant(read[0].shape)
            self._number(read[0], filled, (min(1, read[0].dim() - 1),))
        tracked = [tensor for tensor in read if id(tensor) in self._ids]
        weights = self._weights.of(func if is_layer else None, read)
        if not tracked or step.op in CREATES:
            self._weights.keep(step, weights, output)
            if self._labelled and not is_layer and step.op not in CREATES:
                self._constants.follow(step.op, func, args, kwargs, output)
            return
        labels: Any = None
        whole = read[0]._base if step.op.endswith("_") else None
        if whole is not None and whole.numel() > read[0].numel():
            # a part of a tensor is written, and with it the tensor: we cannot follow the channels
            for tensor in (whole, *read):
                self.trace.union.freeze(self._label(tensor), WRITTEN)
            output = (output, whole)
        elif self._labelled and step.address not in self._unread:
            if step.op in RECURRENT:
                self.trace.union.freeze(self._label(read[0]), STEPS)
            elif is_layer:
                labels = self._layers.apply(step, func, self._label(args[0]), output)
            else:
                known = tree_map(self._label, (args, kwargs))
                places, named = self._constants.labels(step.op, func, args, kwargs, known)
                labels = self._product(step, places, args, kwargs, output)
                if labels is None:
                    labels = self._placed(step, places, args, output)
                if labels is None:
                    labels = self._rules.apply(step.op, func, places, named, output)
        shapes = tuple(tuple(tensor.shape) for tensor in read)
        self._write(step, tracked, output, labels, args, shapes, weights)

    def size_called(self, kind: str, tensor: Tensor, stretches: Stretches) -> None:
        """A module's own forward asked for sizes, or named some."""
        if self._labelled and self._scope and not self._suspended:
            labels = self._quietly(self._label, tensor)
            if id(tensor) not in self._ids:
                self._sized[len(self.trace.sizes.calls)] = tensor
            self.trace.sizes.note(self._scope[-1], kind, labels, stretches)

    def _placed(self, step: LeafCall, labels: Any, args: Any, output: Any) -> Any:
        """Labels by where values lie or are taken from, or of statistics over channels."""
        if step.op in ("as_strided", "as_strided_"):
            return restrided(labels[0], self._strides[self._ids[id(args[0])]], output)
        taken = picked(step.op, labels[0] if labels else None, args)
        return self._statistics.labels(step, labels, output) if taken is None else taken

    def _product(self, step: LeafCall, labels: Any, args: Any, kwargs: Any, output: Any) -> Any:
        if not all(id(each) in self._ids for each in args[:2]):
            return None
        found = product_labels(self.trace.heads, step.op, labels, output)
        if found is None:
            return None
        self.trace.products[step.address] = found[1]
        rows = found[1][0].heads
        if rows is not None and args[0].dim() == 4:  # a bias of each head is added to the scores
            for each in (*args[3:], *kwargs.values()):
                if isinstance(each, Tensor) and id(each) not in self._ids:
                    self._constants.meet(each, rows[: args[0].size(1)], -3)
        return found[0]

    def _write(
        self,
        step: LeafCall,
        read: list[Tensor],
        output: Any,
        labels: Any,
        args: Any,
        operands: tuple[tuple[int, ...], ...],
        weights: tuple[str, ...],
    ) -> None:
        if self._labelled and read[0].dim() > 2:
            self.trace.layouts[step.address] = self._label(read[0])
        inputs = tuple(self._ids[id(tensor)] for tensor in read)
        written = [leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)]
        lines = [leaf for leaf in tree_flatten(labels)[0] if isinstance(leaf, Tensor)]
        plain = tree_map(lambda leaf: None if isinstance(leaf, Tensor) else leaf, args)
        first = self._dims[inputs[0]]
        layout = Layout(tuple(read[0].shape), first)
        outputs = []
        for index, tensor in enumerate(written):
            line = lines[index] if index < len(lines) else None
            if line is None or line.shape != tensor.shape:
                line = constant(tensor.shape)
            dims = channel_dims(line, step.op, plain, layout)
            outputs.append(self._number(tensor, line, dims))
        self.trace.calls.append(
            Call(
                step,
                inputs,
                tuple(outputs),
                tuple(tuple(tensor.shape) for tensor in read),
                tuple(tuple(tensor.shape) for tensor in written),
                self._line(inputs[0]),
                self._line(outputs[0] if outputs else inputs[0]),
                plain,
                labels is not None,
                operands,
                first,
                self._dims[outputs[0]] if outputs else (),
                not lies_in_order(read[0]),
                weights,
            )
        )

    def _number(self, tensor: Tensor, labels: Tensor, dims: Dims) -> int:
        number = len(self._alive)
        self._alive.append(tensor)
        self._ids[id(tensor)] = number
        self._labels[number], self._dims[number] = labels, dims
        self._strides[number] = tensor.stride(), int(tensor.storage_offset())
        return number

    def _values(self, tree: Any) -> tuple[int, ...]:
        leaves = [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]
        numbers = tuple(self._ids[id(leaf)] for leaf in leaves if id(leaf) in self._ids)
        return numbers if len(numbers) == len(leaves) else ()

    def _label(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) in self._ids:
            return self._labels[self._ids[id(leaf)]]
        return constant(leaf.shape)

    def _line(self, value: int) -> Tensor:
        return line_of(self._labels[value], self._dims[value])


def addresses(trace: Trace) -> dict[int, Address]:
    """The operation whose first output each value is."""
    return {call.outputs[0]: call.step.address for call in trace.calls if call.outputs}
