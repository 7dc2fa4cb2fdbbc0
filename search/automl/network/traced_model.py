"""Tracing a network: one trace gives layers, coupled channels, removable blocks and all shapes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from automl.errors import ModelError, Raised, attempt
from automl.network.blocks import removable
from automl.network.boundaries import find_boundaries
from automl.network.bypass import Bypass, goes_with
from automl.network.first_runs import find_example, refuse_quantized
from automl.network.fold import copied, fold
from automl.network.groups import Grouping, Slot, group_channels
from automl.network.headed import LayerLines, lines_of
from automl.network.input_form import example_of
from automl.network.layers import CONVOLUTIONS, Block, Layer, LayerPlan, Network, Unprunable
from automl.network.operators import base_name, is_free, layers_of
from automl.network.paddings import paddings_of, with_padding
from automl.network.parameters import with_parameters
from automl.network.precision import Flow
from automl.network.removal import note_bypasses
from automl.network.resolutions import input_sizes
from automl.network.trace import Call, Trace, record
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
    """

    model: nn.Module
    network: Network
    trace: Trace


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
    fold(ready, example)
    trace = record(ready, example)
    if shown is not None and tuple(shown) != tuple(input_shape):
        _check_shown(ready, trace, input_shape, shown)
    asleep = keep_feeds(trace, ready, example)
    note_bypasses(ready, trace, removable(trace))
    sizes = _ladder(ready, trace, input_shape, resolutions)
    refused: dict[str, str] = {}
    while True:
        network, grouping = _network(ready, trace, sizes, input_shape, fingerprint, refused)
        unsound = unsound_parts(ready, network, example, seed)
        if not unsound:
            network = replace(network, unprunable=(*network.unprunable, *asleep))
            return TracedModel(ready, network, trace)
        roots = [root for root, name in grouping.member.items() if name in unsound]
        if not trace.sizes.translate(trace.heads, roots):
            refused |= unsound


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
        same = other is not None and _same_steps(other, trace)
        if other is not None and same and other.output_shapes == trace.output_shapes:
            usable[size] = other.laid_out_as(trace)
    return usable | {dense: trace}


def _check_shown(
    model: nn.Module, trace: Trace, input_shape: Sequence[int], shown: Sequence[int]
) -> None:
    """Raise ModelError where the data's inputs do not pass through the operations of the trace."""
    other = _record_at(model, tuple(shown))
    if other is None or not _same_steps(other, trace):
        priced, scored = ("x".join(map(str, shape[1:])) for shape in (input_shape, shown))
        raise ModelError(
            f"the model does other operations on inputs of {scored}, which the data has, than on "
            f"{priced}: it cannot be scored at the one and priced at the other"
        )


def _same_steps(one: Trace, other: Trace) -> bool:
    return [call.step for call in one.calls] == [call.step for call in other.calls]


def _record_at(model: nn.Module, shape: tuple[int, ...]) -> Trace | None:
    found = attempt(lambda: record(model, torch.zeros(shape), labelled=False))
    return None if isinstance(found, Raised) else found  # built for its own resolution


def _network(
    model: nn.Module,
    trace: Trace,
    sizes: dict[int, Trace],
    input_shape: Sequence[int],
    fingerprint: str,
    refused: dict[str, str],
) -> tuple[Network, Grouping]:
    modules = dict(model.named_modules())
    found = _priced(trace, modules)
    ladders = [_priced(other, modules).entries for other in sizes.values()]
    widths: dict[Slot, Tensor] = {}
    lines = [lines_of(call, layer, trace) for call, layer in found.entries]
    for index, each in enumerate(lines):
        widths[f"layer {index}", "input"] = each.inputs
        widths[f"layer {index}", "output"] = each.outputs
    grouping = group_channels(trace, widths, refused)
    blocks = {name: past for name, past in removable(trace).items() if name not in refused}
    flow = Flow(trace)
    plans = []
    for index, (call, _) in enumerate(found.entries):
        rungs = tuple(lines[index].shape(*entries[index]) for entries in ladders)
        plan = _plan(call, lines[index], trace, grouping, rungs, blocks)
        plans.append(replace(plan, owner=flow.owner(call)))
    plans = with_parameters(plans, [call for call, _ in found.entries], trace, model, tuple(blocks))
    network = Network(
        tuple(plans),
        grouping.groups,
        _blocks(blocks, plans, grouping, flow, trace),
        tuple(input_shape),
        tuple(sizes),
        _frozen(grouping, refused, trace),
        fingerprint,
        find_boundaries(flow, grouping, list(sizes.values()), blocks),
    )
    return network, grouping


@dataclass(frozen=True, slots=True)
class _Priced:
    entries: list[tuple[Call, Layer]]


def _priced(trace: Trace, modules: dict[str, nn.Module]) -> _Priced:
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
    return _Priced(entries)


def _plan(
    call: Call,
    lines: LayerLines,
    trace: Trace,
    grouping: Grouping,
    rungs: tuple[Layer, ...],
    blocks: Mapping[str, Bypass],
) -> LayerPlan:
    inputs = grouping.width(trace.union.roots(lines.inputs))
    outputs = grouping.width(trace.union.roots(lines.outputs))
    dense, layer = {group.name: group.channels for group in grouping.groups}, rungs[-1]
    if inputs.at(dense) != layer.in_channels:  # its channels are not what labels follow (matmul)
        inputs = type(inputs)(layer.in_channels)
    if outputs.at(dense) != layer.out_channels:
        outputs = type(outputs)(layer.out_channels)
    if layer.op == "concat":
        inputs = outputs
    block = next((name for name, past in blocks.items() if goes_with(call, name, past)), "")
    scales = layer.op in CONVOLUTIONS and 1 < layer.groups == layer.in_channels
    sizes = tuple((rung.in_size, rung.out_size) for rung in rungs)
    only_sizes = all(
        replace(rung, in_size=layer.in_size, out_size=layer.out_size) == layer for rung in rungs
    )
    variants = () if only_sizes else rungs
    heads = None if lines.heads is None else grouping.width(trace.union.roots(lines.heads))
    if heads is not None and (heads.at(dense) != layer.groups or not heads.groups):
        heads = None
    return LayerPlan(layer, inputs, outputs, sizes, block, scales, variants, heads=heads)


def _blocks(
    blocks: Mapping[str, Bypass],
    plans: list[LayerPlan],
    grouping: Grouping,
    flow: Flow,
    trace: Trace,
) -> tuple[Block, ...]:
    result = []
    for name, past in blocks.items():
        layers = tuple(plan.layer.name for plan in plans if plan.block == name)
        gone = {call.step.module for call in trace.calls if goes_with(call, name, past)} - {""}
        inside = tuple(
            group.name
            for group in grouping.groups
            if all(side.module in gone for side in (*group.producers, *group.consumers))
        )
        ends = map(flow.value_owner, (past.enters, past.leaves))
        result.append(Block(name, layers, inside, *ends))
    return tuple(result)


def _frozen(grouping: Grouping, refused: dict[str, str], trace: Trace) -> tuple[Unprunable, ...]:
    tried = {name for name, past in removable(trace).items() if past.kind != "block"}
    blocks = [Unprunable(name, why) for name, why in refused.items() if name not in tried]
    seen = {part.name for part in grouping.unprunable}
    return (*grouping.unprunable, *(part for part in blocks if part.name not in seen))
