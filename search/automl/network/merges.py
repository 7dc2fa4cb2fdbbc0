"""Layers that become one: which can, what runs in their place, and how it depends on channels.

A merge drops what is between layers that follow each other; two linear maps are one then. Nothing
here knows torch: `automl.network.merging` finds merges in a model and makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import gcd

from automl.network.layers import (
    CONVOLUTIONS,
    Extent,
    Layer,
    LayerPlan,
    Network,
    Parameters,
)
from automl.network.replaceable import MergeableLayers


@dataclass(frozen=True, slots=True)
class Window:
    """What a layer reads around each place, per dimension of its maps.

    Attributes:
        kernel, stride, padding, dilation: Of the layer.
    """

    kernel: Extent
    stride: Extent
    padding: Extent
    dilation: Extent

    def before(self, after: Window) -> Window:
        """That of this layer and the one after it as one.

        It writes as many places as both do. Its zeros lie around what the first reads: where the
        second pads, those around what it reads are not the same.
        """
        if not self.kernel:  # of linear layers
            return self
        parts = ("kernel", "stride", "padding", "dilation")
        sides = [getattr(each, part) for each in (self, after) for part in parts]
        axes = [_along(*axis) for axis in zip(*sides, strict=True)]
        kernel, stride, padding, dilation = zip(*axes, strict=True)
        return Window(kernel, stride, padding, dilation)


def _along(
    taps: int, step: int, pad: int, apart: int, taps2: int, step2: int, pad2: int, apart2: int
) -> tuple[int, int, int, int]:
    """Kernel, stride, padding and dilation along one dimension, those of the second layer last."""
    apart2 *= step
    dilation = gcd(apart if taps > 1 else 0, apart2 if taps2 > 1 else 0) or 1
    reach = apart * (taps - 1) + apart2 * (taps2 - 1)
    return reach // dilation + 1, step * step2, pad + step * pad2, dilation


#: Layers that run as one: those of one merge, or of several in a row that share layers.
Chain = tuple[str, ...]


def chains(merges: Sequence[MergeableLayers], chosen: Collection[str]) -> tuple[Chain, ...]:
    """Layers that become one when some merges are made, in network order.

    Args:
        merges: Of the network.
        chosen: Names of those that are made.
    """
    found: list[Chain] = []
    for merge in merges:
        if merge.name not in chosen:
            continue
        if found and found[-1][-1] == merge.chain[0]:
            found[-1] = (*found[-1], *merge.chain[1:])
        else:
            found.append(merge.chain)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class MergedPlan:
    """What runs in place of a chain, and when it does.

    Attributes:
        plan: Of the one layer.
        chain: Names of the layers whose place it takes.
        made: Names of the merges that make it.
        beside: Names of merges that would make more of it: they are not made.
        blocks: Names of removable blocks without any of which there is no chain.
    """

    plan: LayerPlan
    chain: Chain
    made: tuple[str, ...]
    beside: tuple[str, ...]
    blocks: tuple[str, ...]


def merged_plans(network: Network) -> tuple[MergedPlan, ...]:
    """What may run in place of chains, every chain once, in network order."""
    plans = {plan.layer.name: plan for plan in network.plans}
    found: list[MergedPlan] = []
    for row in rows_of(network.merges):
        for first in range(len(row)):
            for last in range(first, len(row)):
                some = row[first : last + 1]
                (chain,) = chains(some, [merge.name for merge in some])
                layers = [plans[name] for name in chain]
                around = (*row[max(0, first - 1) : first], *row[last + 1 : last + 2])
                found.append(
                    MergedPlan(
                        reduce(merged_plan, layers),
                        chain,
                        tuple(merge.name for merge in some),
                        tuple(merge.name for merge in around),
                        tuple(dict.fromkeys(each.block for each in layers if each.block)),
                    )
                )
    return tuple(found)


def rows_of(merges: Sequence[MergeableLayers]) -> list[list[MergeableLayers]]:
    """Merges in rows, of which each begins with the layer that the one before it ends with."""
    rows: list[list[MergeableLayers]] = []
    for merge in merges:
        if rows and rows[-1][-1].chain[-1] == merge.chain[0]:
            rows[-1].append(merge)
        else:
            rows.append([merge])
    return rows


def merged_plan(first: LayerPlan, second: LayerPlan) -> LayerPlan:
    """The plan of two layers that follow each other as one; its bits are those of the second."""
    scales = first.scales_groups and second.scales_groups
    pairs = zip(first.sizes, second.sizes, strict=True)
    held = second.parameters
    return replace(
        first,
        layer=_merged(first.layer, second.layer),
        outputs=second.outputs,
        sizes=tuple((one[0], other[1]) for one, other in pairs),
        scales_groups=scales,
        variants=(),
        owner=second.owner,
        held=Parameters(weights=True, per_output=held.per_output, fixed=held.fixed),
    )


def _merged(first: Layer, second: Layer) -> Layer:
    window, groups = window_of(first).before(window_of(second)), 1
    if first.groups == second.groups:
        groups = first.groups
    op = first.op
    if op in CONVOLUTIONS:
        op = "depthwise_conv2d" if groups == first.in_channels > 1 else "conv2d"
    return replace(
        first,
        name=f"{first.name}+{second.name}",
        op=op,
        out_channels=second.out_channels,
        kernel=window.kernel,
        stride=window.stride,
        padding=window.padding,
        dilation=window.dilation,
        groups=groups,
        out_size=second.out_size,
    )


def window_of(layer: Layer) -> Window:
    """A layer's."""
    return Window(layer.kernel, layer.stride, layer.padding, layer.dilation)


def spans(chain: Sequence[str], is_depthwise: Callable[[str], bool]) -> list[tuple[str, ...]]:
    """Parts of a chain that become one together, each ending with the layer that the next begins.

    A depthwise convolution goes with both layers beside it: with one alone it would become a dense
    convolution of its many channels.

    Args:
        chain: Layers that follow each other.
        is_depthwise: By a layer's name.
    """
    found, first = [], 0
    for last in range(1, len(chain)):
        if last == len(chain) - 1 or not is_depthwise(chain[last]):
            found.append(tuple(chain[first : last + 1]))
            first = last
    return found
