"""Tracing a network: one trace gives layers, coupled channels, removable blocks and all shapes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from automl.errors import ModelError, Raised, attempt
from automl.network.blocks import removable
from automl.network.boundaries import find_boundaries
from automl.network.bypass import Bypass, Bypasses
from automl.network.first_runs import find_example, refuse_quantized
from automl.network.fold import copied, fold
from automl.network.forward_tracer import Address
from automl.network.gates import find_gates
from automl.network.groups import Grouping, Slot, group_channels
from automl.network.headed import LayerLines, lines_of
from automl.network.held import find_caches
from automl.network.input_form import example_of
from automl.network.layers import (
    CONVOLUTIONS,
    Block,
    Layer,
    LayerPlan,
    Network,
    Unprunable,
    Width,
)
from automl.network.memory_format import note_layout
from automl.network.merging import find_merges
from automl.network.operators import base_name, is_free, layers_of
from automl.network.paddings import paddings_of, with_padding
from automl.network.parameters import with_parameters
from automl.network.precision import Flow
from automl.network.recorded import Call, Trace
from automl.network.removal import note_bypasses
from automl.network.replaceable import MergeableLayers
from automl.network.resolutions import input_sizes
from automl.network.trace import record
from automl.network.trial_cuts import unsound_parts
from automl.network.unvisited import keep_feeds

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class TracedModel:
    """A model made ready for a search.

    Attributes:
        model: A copy of the user's model, batch norms folded, in eval mode, without gradients.
        network: What the search sees.
        trace: The recorded pass through `model`.
        norm_scales: Per layer that a batch norm was folded into, the norm's weight: [channels].
    """

    model: nn.Module
    network: Network
    trace: Trace
    norm_scales: Mapping[str, Tensor] = field(default_factory=dict)


def trace_network(
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    resolutions: Sequence[int] | None = None,
    shown: Sequence[int] | None = None,
    seed: int = 0,
) -> TracedModel:
    """Read a model: fold, trace, group, and believe only what survives being cut and run.

    Args:
        model: Any module that takes one float tensor, or rows (`taking_rows`).
        input_shape: Shape of one input, batch 1 first.
        resolutions: Square input sizes to try; None for a default ladder, () for the dense alone.
        shown: Shape of one input of the data; None where it is `input_shape`.
        seed: Of the random inputs and of the channels cut in the check.

    Raises:
        ModelError: The model cannot be copied, does not run on such an input, gives other outputs
            each time or no numbers, or does other operations than on the data's.
    """
    refuse_quantized(model)
    example = example_of(model, input_shape, seed)
    fingerprint = fingerprint_of(model)
    ready = copied(model)
    example = find_example(ready, example)
    norm_scales = fold(ready, example)
    find_caches(ready, example)
    trace = record(ready, example)
    note_layout(ready, trace, example)
    if shown is not None and tuple(shown) != tuple(input_shape):
        _check_shown(ready, trace, input_shape, shown)
    asleep = keep_feeds(trace, ready, example)
    parts = removable(trace)
    note_bypasses(ready, trace, parts)
    trace.sizes.note_on(ready)
    priced = _Priced.of(ready, trace, _ladder(ready, trace, input_shape, resolutions))
    refused: dict[str, str] = {}
    while True:
        grouping = group_channels(trace, priced.widths, refused)
        blocks = {name: past for name, past in parts.items() if name not in refused}
        unsound = unsound_parts(ready, grouping.groups, blocks, example, seed)
        if not unsound:
            break
        roots = [root for root, name in grouping.member.items() if name in unsound]
        if not trace.sizes.translate(trace.heads, roots):
            refused |= unsound
    network = replace(
        _network(ready, trace, priced, grouping, blocks, example),
        input_shape=tuple(input_shape),
        fingerprint=fingerprint,
        unprunable=(*_left_alone(grouping, refused, parts), *asleep),
    )
    return TracedModel(ready, network, trace, norm_scales)


def fingerprint_of(model: nn.Module) -> str:
    """Names and shapes of all weights, hashed: the same for every set of weights of one model."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name}:{tuple(value.shape)};".encode())
    return digest.hexdigest()[:16]


def _ladder(
    model: nn.Module, trace: Trace, input_shape: Sequence[int], wanted: Sequence[int] | None
) -> dict[int, Trace]:
    """Traces at every usable resolution, ascending, the dense one last."""
    if len(input_shape) != 4 or input_shape[2] != input_shape[3]:
        return {input_shape[-1] if len(input_shape) == 4 else 0: trace}
    dense = input_shape[2]
    if wanted is None:
        wanted = input_sizes(dense, trace)
    usable = {}
    for size in sorted(set(wanted) - {dense}):
        other = _record_at(model, (*input_shape[:2], size, size))
        same = other is not None and other.runs_as(trace)
        if other is not None and same and other.output_shapes == trace.output_shapes:
            usable[size] = other.laid_out_as(trace)
    return usable | {dense: trace}


def _check_shown(
    model: nn.Module, trace: Trace, input_shape: Sequence[int], shown: Sequence[int]
) -> None:
    """Raise ModelError where the data's inputs do not pass through the operations of the trace."""
    other = _record_at(model, tuple(shown))
    if other is None or not other.runs_as(trace):
        priced, scored = ("x".join(map(str, shape[1:])) for shape in (input_shape, shown))
        raise ModelError(
            f"the model does other operations on inputs of {scored}, which the data has, than on "
            f"{priced}: it cannot be scored at the one and priced at the other"
        )


def _record_at(model: nn.Module, shape: tuple[int, ...]) -> Trace | None:
    found = attempt(lambda: record(model, torch.zeros(shape), labelled=False))
    return None if isinstance(found, Raised) else found  # built for its own resolution


@dataclass(frozen=True, slots=True)
class _Priced:
    """What is priced of a network, whatever of it can be cut.

    Attributes:
        calls: Per layer, the operation that it is of.
        lines: Labels of its widths.
        sizes: Per resolution of the network, the pass at it.
        rungs: Per layer, it at each of these.
    """

    calls: tuple[Call, ...]
    lines: tuple[LayerLines, ...]
    sizes: dict[int, Trace]
    rungs: tuple[tuple[Layer, ...], ...]

    @classmethod
    def of(cls, model: nn.Module, trace: Trace, sizes: dict[int, Trace]) -> _Priced:
        """What is priced of a pass, at each of these resolutions."""
        modules = dict(model.named_modules())
        found = _entries(trace, modules)
        ladders = [_entries(other, modules) for other in sizes.values()]
        lines = tuple(lines_of(call, layer, trace) for call, layer in found)
        rungs = tuple(
            tuple(line.shape(*entries[index]) for entries in ladders)
            for index, line in enumerate(lines)
        )
        return cls(tuple(call for call, _ in found), lines, sizes, rungs)

    @property
    def widths(self) -> dict[Slot, Tensor]:
        """Labels along what is priced."""
        return {
            (f"layer {index}", side): labels
            for index, line in enumerate(self.lines)
            for side, labels in (("input", line.inputs), ("output", line.outputs))
        }


def _entries(trace: Trace, modules: dict[str, nn.Module]) -> list[tuple[Call, Layer]]:
    producers, count = trace.producers(), Counter[str]()
    paddings = paddings_of(trace)
    entries: list[tuple[Call, Layer]] = []
    for call in trace.alive():
        op = base_name(call.step.op)
        before = producers.get(call.inputs[0]) if call.inputs else None
        if is_free(call, before) or (call.outputs and call.outputs[0] in paddings):
            continue
        count[op] += 1
        layers = layers_of(call, modules, f"{op}_{count[op]}", call.strided)
        padding = paddings.get(call.inputs[0]) if call.inputs else None
        if padding is not None:
            layers = [with_padding(layer, padding) for layer in layers]
        entries.extend((call, layer) for layer in layers)
    return entries


def _network(
    model: nn.Module,
    trace: Trace,
    priced: _Priced,
    grouping: Grouping,
    blocks: Mapping[str, Bypass],
    example: Tensor,
) -> Network:
    """All but the input's shape, what is left alone, and the fingerprint."""
    bypasses, flow = Bypasses(trace), Flow(trace)
    gone = {name: bypasses.gone_with(name, past) for name, past in blocks.items()}
    within = {address: name for name, addresses in gone.items() for address in addresses}
    widths = _Widths(grouping, trace)
    plans = []
    for call, line, rungs in zip(priced.calls, priced.lines, priced.rungs, strict=True):
        plan = widths.plan(line, rungs, within.get(call.step.address, ""))
        plans.append(replace(plan, owner=flow.owner(call)))
    plans = with_parameters(plans, priced.calls, trace, model, tuple(blocks))
    of = [*zip(priced.calls, plans, strict=True)]
    merges = find_merges(model, trace, grouping, of, example)
    return Network(
        tuple(plans),
        grouping.groups,
        _blocks(blocks, gone, plans, grouping, flow, merges),
        (),
        tuple(priced.sizes),
        boundaries=find_boundaries(flow, grouping, list(priced.sizes.values()), within),
        merges=merges,
        gates=find_gates(model, trace, bypasses, of, example),
    )


class _Widths:
    """How the widths of layers depend on the groups.

    Args:
        grouping: The groups.
        trace: Of the network.
    """

    def __init__(self, grouping: Grouping, trace: Trace) -> None:
        self._grouping, self._union = grouping, trace.union
        self._dense = {group.name: group.channels for group in grouping.groups}

    def plan(self, lines: LayerLines, rungs: tuple[Layer, ...], block: str) -> LayerPlan:
        """A layer as its widths say, at every resolution.

        Args:
            lines: Labels of its widths.
            rungs: It at each resolution, ascending.
            block: What it goes with, or "".
        """
        layer = rungs[-1]
        inputs = self._width(lines.inputs, layer.in_channels)
        outputs = self._width(lines.outputs, layer.out_channels)
        if layer.op == "concat":
            inputs = outputs
        scales = layer.op in CONVOLUTIONS and 1 < layer.groups == layer.in_channels
        sizes = tuple((rung.in_size, rung.out_size) for rung in rungs)
        only_sizes = all(
            replace(rung, in_size=layer.in_size, out_size=layer.out_size) == layer for rung in rungs
        )
        variants = () if only_sizes else rungs
        heads = None if lines.heads is None else self._width(lines.heads, layer.groups)
        if heads is not None and not heads.groups:
            heads = None
        return LayerPlan(layer, inputs, outputs, sizes, block, scales, variants, heads=heads)

    def _width(self, labels: Tensor, channels: int) -> Width:
        """The width along some labels; fixed where it is not what they follow (of a product)."""
        found = self._grouping.width(self._union.roots(labels))
        return found if found.at(self._dense) == channels else Width(channels)


def _blocks(
    blocks: Mapping[str, Bypass],
    gone: Mapping[str, set[Address]],
    plans: list[LayerPlan],
    grouping: Grouping,
    flow: Flow,
    merges: Sequence[MergeableLayers],
) -> tuple[Block, ...]:
    result = []
    for name, past in blocks.items():
        layers = tuple(plan.layer.name for plan in plans if plan.block == name)
        modules = {call.step.module for call in flow.trace.calls if call.step.address in gone[name]}
        inside = tuple(
            group.name
            for group in grouping.groups
            if all(side.module in modules - {""} for side in (*group.producers, *group.consumers))
        )
        enters, leaves = map(flow.value_owner, (past.enters, past.leaves))
        within = tuple(merge.name for merge in merges if {*merge.layers} & {*layers})
        result.append(Block(name, layers, inside, enters, leaves, within))
    return tuple(result)


def _left_alone(
    grouping: Grouping, refused: Mapping[str, str], parts: Mapping[str, Bypass]
) -> tuple[Unprunable, ...]:
    """Producers whose channels stay, and blocks; of the layers of chains and the like no word."""
    told = {part.name for part in grouping.unprunable}
    told |= {name for name, past in parts.items() if past.kind != "block"}
    left = (Unprunable(name, why) for name, why in refused.items() if name not in told)
    return (*grouping.unprunable, *left)
