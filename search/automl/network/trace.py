"""Recording a forward pass: operations, the values between them, and the labels of channels."""

from __future__ import annotations

from collections import Counter
from itertools import chain
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
from automl.network.heads import product_labels
from automl.network.held import forget
from automl.network.labels import (
    CREATES,
    FIXED,
    INPUT,
    OUTPUT,
    STEPS,
    VIEWS,
    WRITTEN,
    Rules,
    constant,
    varying,
    vector,
)
from automl.network.layer_rules import LayerRules
from automl.network.layers import RECURRENT
from automl.network.outputs import Here, Signature, output_tensors
from automl.network.over_channels import Statistics
from automl.network.parted import TakenApart, view_of
from automl.network.picking import picked
from automl.network.recorded import Call, Trace
from automl.network.sizes import SizeCall, SizeCalls
from automl.network.stretches import Stretches
from automl.network.weights_read import WeightsRead, tied_layers

Tensor = torch.Tensor


def record(model: nn.Module, inputs: Tensor, *, labelled: bool = True) -> Trace:
    """Run the model once on `inputs` (batch 1, on the CPU) and record what happened.

    Without `labelled` only operations and shapes are recorded, and every label is `NONE`.
    """
    seen = record(model, inputs, labelled=False) if labelled else None
    if labelled:
        forget(model)
    recorder = _Recorder(model, inputs, seen)
    with recorder.attached():
        recorder.renew()
        with SizeCalls(recorder.size_called):
            output = model(inputs)
    return recorder.finish(output)


def _unread(trace: Trace) -> frozenset[Address]:
    """Operations that the outputs do not depend on: what they do to channels does not matter."""
    read = {call.step.address for call in trace.alive(branches=True)}
    return frozenset(call.step.address for call in trace.calls) - read


def _squeezed(trace: Trace) -> frozenset[Address]:
    """Reductions that keep a dimension which all that reads them takes away: they meet nothing."""
    readers: dict[int, list[Call]] = {}
    for call in trace.calls:
        for value in call.inputs:
            readers.setdefault(value, []).append(call)
    found = []
    for call in trace.calls:
        read = [each for value in call.outputs for each in readers.get(value, [])]
        shown = not {*call.outputs}.isdisjoint(trace.output)
        if read and not shown and all(_takes_away(each, call.arguments[1:2]) for each in read):
            found.append(call.step.address)
    return frozenset(found)


def _takes_away(call: Call, reduced: tuple[Any, ...]) -> bool:
    """Whether what is read loses a dimension, by a view or by the name that a reduction has it."""
    given = call.in_shapes[0]
    if call.step.op in VIEWS:
        return len(call.out_shapes[0]) < len(given)
    named = [tree_leaves(each) for each in (call.arguments[1:2], reduced)]
    if call.step.op not in ("squeeze", "select") or not all(
        isinstance(dim, int) for dim in chain(*named)
    ):
        return False
    one, other = ([dim % len(given) for dim in dims] for dims in named)
    return one == other


class _Recorder(ForwardTracer):
    """Records a pass; with labels where one without was recorded before (`seen`)."""

    def __init__(self, model: nn.Module, inputs: Tensor, seen: Trace | None) -> None:
        super().__init__(model)
        self._unread = frozenset() if seen is None else _unread(seen)
        self._weights = WeightsRead(model)
        self.trace = Trace(tied=tied_layers(model), asides=self._weights.asides)
        self._labelled = seen is not None
        self._rules = Rules(self.trace.union, self.trace.heads)
        self._layers = LayerRules(self.trace.heads, self.trace.bindings, self.trace.tied)
        self._constants = Constants(model, self.trace.heads)
        self._sized: dict[int, Tensor] = {}  # by size call: what constants alone made
        squeezed = frozenset() if seen is None else _squeezed(seen)
        self._statistics = Statistics(
            self.trace.heads, self.trace.bindings, self.trace.maxima, squeezed
        )
        self._ids: dict[int, int] = {}
        self._labels: dict[int, Tensor] = {}
        self._dims: dict[int, Dims] = {}
        self._strides: dict[int, Strides] = {}  # an operation in place changes its input's
        self._alive: list[Tensor] = []  # an id is only unique while its tensor lives
        self._entered: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool]] = {}
        self._number_input(inputs)

    def renew(self) -> None:
        """Have the model make what it makes of its constants for evaluation once more, to see."""
        if self._labelled and not self._model.training:
            self._scope.append("")
            self._model.eval()
            self.start()

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
        self.trace.output = tuple(known)
        self._find_parts()
        self.trace.heads.settle()
        self.trace.output_shapes = tuple(tuple(tensor.shape) for tensor in tensors)
        return self.trace

    def _find_parts(self) -> None:
        """Parts that views lay out and that are then taken apart need not lose the same."""
        notes, producers = self.trace.sizes, self.trace.producers()
        asked = Counter(each.value for each in notes.calls if each.value is not None)
        apart = TakenApart(self.trace.calls, asked, self.trace.output)
        visits = Counter((each.module, each.call) for each in notes.calls)
        for number, each in enumerate(list(notes.calls)):
            made = None if each.value is None else producers.get(each.value)
            named = each.kind in ("named", "unflattened") and visits[each.module, each.call] == 1
            if made is None or each.value is None or not named or not made.inputs:
                continue
            dim = apart.dim_of(each.value, varying(each.labels)[:-1], each.module)
            given = self._labels[made.inputs[0]]
            view = None if dim is None else view_of(each.labels, given, dim)
            if view is not None:
                self.trace.heads.part(each.labels, view.dim)
                notes.lay_out(number, view)

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

    def size_called(
        self, kind: str, tensor: Tensor, stretches: Stretches, index: Tensor | None
    ) -> None:
        """A module's own forward asked for sizes, or named some."""
        if self._labelled and self._scope and not self._suspended:
            labels = self._quietly(self._label, tensor)
            if id(tensor) not in self._ids:
                self._sized[len(self.trace.sizes.calls)] = tensor
            value = self._ids.get(id(tensor))
            self.trace.sizes.note(
                SizeCall(self._scope[-1], 0, kind, labels, stretches, index, value)
            )

    def _placed(self, step: LeafCall, labels: Any, args: Any, output: Any) -> Any:
        """Labels by where values lie or are taken from, or of statistics over channels."""
        if step.op in ("as_strided", "as_strided_"):
            return restrided(labels[0], self._strides[self._ids[id(args[0])]], output)
        given = tree_leaves(args[1:])
        fixed = not any(isinstance(each, Tensor) and id(each) in self._ids for each in given)
        taken = picked(step.op, labels[0] if labels else None, args, fixed=fixed)
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
                if isinstance(each, Tensor):
                    self._add_bias(each, rows[: args[0].size(1)])
        return found[0]

    def _add_bias(self, bias: Tensor, heads: Tensor) -> None:
        """What is added to the scores of each head goes with it, of constants or computed."""
        if id(bias) not in self._ids:
            self._constants.meet(bias, heads, -3)
        elif bias.dim() > 2 and bias.size(-3) > 1:
            line = vector(self._label(bias), bias.dim() - 3)
            line = heads.new_zeros(len(heads)) if line is None else line
            self.trace.union.join(heads, line, FIXED)

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
