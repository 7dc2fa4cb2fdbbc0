"""Where values go from one layer's precision to another's, as things that can be priced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from automl.network.forward_tracer import Address
from automl.network.groups import Grouping
from automl.network.layers import Boundary, Layer, LayerPlan, Width
from automl.network.operators import extent
from automl.network.precision import NETWORK_INPUT, Flow, Place
from automl.network.recorded import Trace


def find_boundaries(
    flow: Flow, grouping: Grouping, ladder: Sequence[Trace], blocks: Mapping[Address, str]
) -> tuple[Boundary, ...]:
    """All places where the precision may change, each value once per layer that takes it in.

    Args:
        flow: Of the dense network.
        grouping: Its channel groups.
        ladder: Traces at every resolution, ascending, the dense one last.
        blocks: Operations that go with what can be left out -> its name.
    """
    shapes = [_shapes(trace) for trace in ladder]
    found: dict[tuple[Address, str], Boundary] = {}
    for place in flow.places.values():
        for operand in place.operands:
            if operand.owner != place.owner:
                key = (operand.origin, place.owner)
                if key not in found:
                    plan = _plan(flow, operand.origin, place, grouping, shapes, blocks)
                    value = _name(operand.origin)
                    step = place.call.step
                    block = blocks.get(step.address, "")
                    found[key] = Boundary(
                        operand.owner, place.owner, plan, value, block, step.module
                    )
    for operand in flow.outputs():
        last = flow.places.get(operand.origin)
        if last is not None and operand.owner and last.call.step.op != "linear":
            plan = _plan(flow, operand.origin, last, grouping, shapes, blocks)
            boundary = Boundary(operand.owner, "", plan, _name(operand.origin))
            found.setdefault((operand.origin, ""), boundary)
    return tuple(found.values())


def _shapes(trace: Trace) -> dict[Address, tuple[int, ...]]:
    """Shapes of the values by the operation whose output they are; the network's input first."""
    given = next((call.in_shapes[0] for call in trace.calls if call.inputs), ())
    outputs = {call.step.address: call.out_shapes[0] for call in trace.calls if call.outputs}
    return {NETWORK_INPUT: given, **outputs}


def _plan(
    flow: Flow,
    origin: Address,
    reader: Place,
    grouping: Grouping,
    shapes: Sequence[dict[Address, tuple[int, ...]]],
    blocks: Mapping[Address, str],
) -> LayerPlan:
    """The conversion as a layer; it goes with the reader's block, or else with the writer's."""
    writer = flow.places.get(origin)
    whole = shapes[-1][origin]
    dims = (1,) * (len(whole) > 1) if writer is None else writer.call.out_dims
    channels, _ = extent(whole, dims)
    labels = None if writer is None else flow.trace.union.roots(writer.call.out_labels)
    side = Width(channels) if labels is None else grouping.width(labels)
    if side.at({group.name: group.channels for group in grouping.groups}) != channels:
        side = Width(channels)
    ladder = [extent(each[origin], dims)[1] for each in shapes]
    sizes = tuple((each, each) for each in ladder)
    block = blocks.get(reader.call.step.address) or blocks.get(origin, "")
    name = f"{_name(origin)} to {reader.call.step.address[0]}"
    layer = Layer(name, "convert", channels, channels, in_size=ladder[-1], out_size=ladder[-1])
    return LayerPlan(layer, side, side, sizes, block)


def _name(origin: Address) -> str:
    return ".".join(map(str, origin))
