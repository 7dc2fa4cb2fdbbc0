"""Tracing a network: one trace gives layers, coupled channels, removable blocks and all shapes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from automl.errors import ModelError
from automl.network.blocks import removable
from automl.network.boundaries import find_boundaries
from automl.network.fold import folded
from automl.network.groups import Grouping, Slot, group_channels
from automl.network.layers import Block, Layer, LayerPlan, Network, Unprunable
from automl.network.operators import base_name, is_free, layers_of
from automl.network.paddings import paddings_of, with_padding
from automl.network.precision import Flow
from automl.network.resolutions import input_sizes
from automl.network.surgery import mask, note_passages, smaller
from automl.network.trace import Call, Trace, record

Tensor = torch.Tensor
#: Outputs of the cut and of the masked network may differ by this share of what masking changed,
_TOLERANCE = 1e-2
#: and by this share of the output's scale.
_ROUNDING = 2e-5


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
        model: Any module that takes one float tensor.
        input_shape: Shape of one input, batch 1 first.
        resolutions: Square input sizes to try; None for a default ladder, () for the dense alone.
        shown: Shape of one input of the data; None where it is `input_shape`.
        seed: Of the random inputs and of the channels cut in the check.

    Raises:
        ModelError: The model cannot be copied, does not run on such an input, or does other
            operations than on the data's.
    """
    generator = torch.Generator().manual_seed(seed)
    example = torch.randn(tuple(input_shape), generator=generator)
    fingerprint = fingerprint_of(model)
    try:
        ready = folded(model, example)
        trace = record(ready, example)
    except ModelError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        shape = "x".join(map(str, input_shape))
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"the model does not run on an input of shape {shape}: {first}") from error
    if shown is not None:
        _check_shown(ready, trace, input_shape, shown)
    note_passages(ready, trace, removable(trace))
    sizes = _ladder(ready, trace, input_shape, resolutions)
    refused: dict[str, str] = {}
    while True:
        network = _network(ready, trace, sizes, input_shape, fingerprint, refused)
        broken = _broken(ready, network, example, seed)
        if not broken:
            return TracedModel(ready, network, trace)
        refused |= broken


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
            usable[size] = other
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
    try:
        return record(model, torch.zeros(shape), labelled=False)
    except (RuntimeError, ValueError, IndexError):
        return None  # the model is built for its own resolution


def _network(
    model: nn.Module,
    trace: Trace,
    sizes: dict[int, Trace],
    input_shape: Sequence[int],
    fingerprint: str,
    refused: dict[str, str],
) -> Network:
    modules = dict(model.named_modules())
    found = _priced(trace, modules)
    ladders = [_priced(other, modules).layers for other in sizes.values()]
    widths: dict[Slot, Tensor] = {}
    for index, (call, _) in enumerate(found.entries):
        widths[f"layer {index}", "input"] = call.in_labels
        widths[f"layer {index}", "output"] = call.out_labels
    grouping = group_channels(trace, widths, refused)
    blocks = [name for name in removable(trace) if name not in refused]
    flow = Flow(trace)
    plans = []
    for index, (call, layer) in enumerate(found.entries):
        rungs = tuple(layers[index] for layers in ladders)
        plan = _plan(call, layer, trace, grouping, rungs, blocks)
        plans.append(replace(plan, owner=flow.owner(call)))
    return Network(
        tuple(plans),
        grouping.groups,
        _blocks(blocks, plans, grouping, flow),
        tuple(input_shape),
        tuple(sizes),
        _frozen(grouping, found, refused),
        fingerprint,
        find_boundaries(flow, grouping, list(sizes.values()), blocks),
    )


@dataclass(frozen=True, slots=True)
class _Priced:
    entries: list[tuple[Call, Layer]]
    unknown: list[Unprunable]

    @property
    def layers(self) -> list[Layer]:
        return [layer for _, layer in self.entries]


def _priced(trace: Trace, modules: dict[str, nn.Module]) -> _Priced:
    producers, count = trace.producers(), Counter[str]()
    paddings = paddings_of(trace)
    moved: set[int] = set()
    entries: list[tuple[Call, Layer]] = []
    unknown: dict[str, Unprunable] = {}
    for call in _alive(trace):
        op = base_name(call.step.op)
        before = producers.get(call.inputs[0]) if call.inputs else None
        if op in ("transpose", "permute") or (call.inputs and call.inputs[0] in moved):
            moved.update(call.outputs if op != "clone" else ())
        if is_free(call, before) or (call.outputs and call.outputs[0] in paddings):
            continue
        count[op] += 1
        strided = bool(call.inputs) and call.inputs[0] in moved
        layers = layers_of(call, modules, f"{op}_{count[op]}", strided)
        if layers is None:
            unknown[op] = Unprunable(op, "this operator has no price: latency does not count it")
            continue
        padding = paddings.get(call.inputs[0]) if call.inputs else None
        if padding is not None:
            layers = [with_padding(layer, padding) for layer in layers]
        entries.extend((call, layer) for layer in layers)
    return _Priced(entries, list(unknown.values()))


def _alive(trace: Trace) -> list[Call]:
    """The calls that the output depends on; a runtime leaves the others out."""
    wanted, alive = set(trace.output), []
    for call in reversed(trace.calls):
        if wanted.intersection(call.outputs):
            wanted.update(call.inputs)
            alive.append(call)
    return alive[::-1]


def _plan(
    call: Call,
    layer: Layer,
    trace: Trace,
    grouping: Grouping,
    rungs: tuple[Layer, ...],
    blocks: list[str],
) -> LayerPlan:
    inputs = grouping.width(trace.union.roots(call.in_labels))
    outputs = grouping.width(trace.union.roots(call.out_labels))
    dense = {group.name: group.channels for group in grouping.groups}
    if inputs.at(dense) != layer.in_channels:  # its channels are not what labels follow (matmul)
        inputs = type(inputs)(layer.in_channels)
    if outputs.at(dense) != layer.out_channels:
        outputs = type(outputs)(layer.out_channels)
    if layer.op == "concat":
        inputs = outputs
    block = next((name for name in blocks if name in call.step.scope), "")
    scales = layer.op == "depthwise_conv2d"
    sizes = tuple((rung.in_size, rung.out_size) for rung in rungs)
    only_sizes = all(
        replace(rung, in_size=layer.in_size, out_size=layer.out_size) == layer for rung in rungs
    )
    variants = () if only_sizes else rungs
    return LayerPlan(layer, inputs, outputs, sizes, block, scales, variants)


def _blocks(
    names: list[str], plans: list[LayerPlan], grouping: Grouping, flow: Flow
) -> tuple[Block, ...]:
    result = []
    for name in names:
        layers = tuple(plan.layer.name for plan in plans if plan.block == name)
        inside = tuple(
            group.name
            for group in grouping.groups
            if all(
                side.module.startswith(f"{name}.") for side in (*group.producers, *group.consumers)
            )
        )
        ends = map(flow.value_owner, flow.trace.passage(name) or ())
        result.append(Block(name, layers, inside, *ends))
    return tuple(result)


def _frozen(grouping: Grouping, found: _Priced, refused: dict[str, str]) -> tuple[Unprunable, ...]:
    blocks = [Unprunable(name, why) for name, why in refused.items()]
    seen = {part.name for part in grouping.unprunable}
    return (
        *grouping.unprunable,
        *(part for part in blocks if part.name not in seen),
        *found.unknown,
    )


def _broken(model: nn.Module, network: Network, example: Tensor, seed: int) -> dict[str, str]:
    """Groups and blocks that cannot be cut, with the reason; {} when all of them can."""
    check = _Check(model, network, example, seed)
    groups = tuple(group.name for group in network.groups)
    blocks = tuple(block.name for block in network.blocks)
    if not check.differs(groups) and not check.differs((*groups, *blocks)):
        return {}
    parts = (*groups, *blocks)
    broken = {part: why for part in parts if (why := check.differs((part,)))}
    if broken:
        return broken
    forwards, backwards = check.culprits(parts), check.culprits(parts[::-1])
    fewest = min(forwards, backwards, key=len)
    return dict.fromkeys(fewest, "it breaks the network together with other parts")


class _Check:
    """Cuts parts out of a model and runs it against the masked model."""

    def __init__(self, model: nn.Module, network: Network, example: Tensor, seed: int) -> None:
        self._model, self._network, self._example = model, network, example
        generator = torch.Generator().manual_seed(seed)
        self._kept: dict[str, Tensor] = {}
        for group in network.groups:
            order = torch.randperm(group.channels, generator=generator)
            self._kept[group.name] = order[: max(1, group.channels * 5 // 8)].sort().values
        with torch.no_grad():
            self._dense = _flat(model(example))

    def differs(self, parts: tuple[str, ...]) -> str:
        """Why the network without channels of these groups, or without these blocks, is wrong."""
        kept = {name: self._kept[name] for name in parts if name in self._kept}
        removed = frozenset(parts) - frozenset(kept)
        groups = self._network.groups
        masked = mask(self._model, groups, kept, removed, shared=True)
        with torch.no_grad():
            try:
                expected = _flat(masked(self._example))
                cut = smaller(self._model, groups, kept, removed, shared=True)
                found = _flat(cut(self._example))
            except (RuntimeError, ValueError, IndexError, TypeError, AttributeError):
                return "the network no longer runs when it is cut"
        if found.shape != expected.shape or expected.shape != self._dense.shape:
            return "the output's shape changes when it is cut"
        # A wrong cut errs as much as the masking itself changes; rounding does not.
        effect = float((expected - self._dense).abs().max())
        allowed = _TOLERANCE * effect + _ROUNDING * float(expected.abs().max())
        if not float((found - expected).abs().max()) <= allowed:
            return "what is left when it is cut no longer computes the same"
        return ""

    def culprits(self, parts: tuple[str, ...]) -> list[str]:
        """Parts without which the rest can be cut together, found by halving."""
        good: tuple[str, ...] = ()
        guilty: list[str] = []
        while self.differs((*good, *parts)):
            low, high = 0, len(parts)  # the first `low` go well together, the first `high` do not
            while high - low > 1:
                middle = (low + high) // 2
                if self.differs((*good, *parts[:middle])):
                    high = middle
                else:
                    low = middle
            guilty.append(parts[low])
            good, parts = (*good, *parts[:low]), parts[high:]
        return guilty


def _flat(output: object) -> Tensor:
    leaves = tree_leaves(output)
    return torch.cat([leaf.flatten() for leaf in leaves if isinstance(leaf, Tensor)])
