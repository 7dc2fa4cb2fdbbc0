"""Which channel counts are worth offering on a device: learned from its prices.

A device that runs channels in blocks makes most counts pointless or worse: on a CPU with 16-wide
vectors one channel less than 64 can cost a third more time. The granularity of a group is the
smallest step which saves time in proportion when it is removed, as all larger steps do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from automl.latency import SOURCES, OpKey, Pricer, op_key
from automl.network import ChannelGroup, LayerPlan, Network
from automl.space import sixteenth

#: Steps that are tried, in channels, beside a sixteenth of them.
STEPS = (2, 4, 8, 16, 32, 64, 128, 256)
#: Share of a proportional saving that a step must bring to be worth offering.
WORTH = 0.4
#: A step has to save so much with its time and the dense one's off by so many standard deviations:
#: noise makes steps look worth while that are not in one case of twenty.
CERTAINTY = 1.645


def probe_keys(network: Network, precision: str) -> list[OpKey]:
    """Operators to price before the granularity can be learned."""
    return [
        key
        for count in sorted(_counts(network))
        for key in _ladder(network, count, precision).values()
    ]


def learn_granularity(network: Network, pricer: Pricer, precision: str) -> dict[str, int]:
    """Per channel group, the step in which its channels are offered.

    Where several channels go together that is a sixteenth: they are a step of the device's already.
    """
    by_count = {
        count: _learn(_ladder(network, count, precision), count, pricer)
        for count in _counts(network)
    }
    return {
        group.name: by_count[group.channels] if group.width == 1 else sixteenth(group.channels)
        for group in network.groups
    }


def free_granularity(network: Network) -> dict[str, int]:
    """Per channel group, a sixteenth: where no time is limited every count is as good."""
    return {group.name: sixteenth(group.channels) for group in network.groups}


def _counts(network: Network) -> set[int]:
    return {group.channels for group in network.groups if group.width == 1}


def _learn(ladder: dict[int, OpKey], count: int, pricer: Pricer) -> int:
    if not ladder:
        return sixteenth(count)
    steps = list(ladder)
    found = pricer.lookup(list(ladder.values()))
    dense = steps.index(0)
    remaining = found.seconds / found.seconds[dense]
    # What a fitted time is off by is common to neighbouring shapes, and no noise between them.
    own = np.where(found.source == SOURCES.index("measured"), np.nan_to_num(found.spread), 0.0)
    noise = np.hypot(own, own[dense])
    saved = 1.0 - remaining * (1.0 + CERTAINTY * noise)
    worth = count
    for step, share in sorted(zip(steps, saved.tolist(), strict=True), reverse=True)[:-1]:
        if not np.isfinite(share):
            continue  # not measured
        if share < WORTH * step / count:
            break  # a smaller step that seems to save time does so by the noise of its measurement
        worth = step
    return worth


def _ladder(network: Network, count: int, precision: str) -> dict[int, OpKey]:
    """The costliest producer of groups with so many channels, dense (0) and narrowed by steps."""
    plans = {plan.layer.name: plan for plan in network.plans}
    candidates = [
        plans[side.module]
        for group in network.groups
        if group.channels == count
        for side in group.producers
        if side.module in plans and _writes_all(group, plans[side.module])
    ]
    if not candidates:
        return {}
    layer = max(candidates, key=lambda plan: plan.layer.macs).layer
    keys = {0: op_key(layer, precision)}
    finest = sixteenth(count)
    for step in (finest, *STEPS):
        if finest <= step < count:
            narrow = replace(layer, out_channels=layer.out_channels - step)
            keys[step] = op_key(narrow, precision)
    return keys


def _writes_all(group: ChannelGroup, plan: LayerPlan) -> bool:
    plain = plan.layer.op in ("conv2d", "linear") and plan.layer.groups == 1
    return plain and plan.outputs.parts == ((group.name, 1),)
