"""Width: how many channels of a group stay."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from automl.compression.kinds.base import Bench, CompressionKind, Measurer, OneByOne
from automl.errors import SpaceError
from automl.network import Block, ChannelGroup, LayerPlan, Network
from automl.policy import Policy
from automl.space import (
    MAXIMUM_OPTIONS,
    Space,
    SpaceSettings,
    Variable,
    sixteenth,
)

if TYPE_CHECKING:
    from torch import Tensor


class ChannelsKind(CompressionKind[int]):
    """How many channels of a group stay."""

    name = "channels"
    ordered = True

    def variables(self, network: Network, settings: SpaceSettings) -> Sequence[Variable]:
        """One a group that has more than one count."""
        found = [(group.name, _counts(group, settings)) for group in network.groups]
        return [Variable(self.name, name, counts) for name, counts in found if len(counts) > 1]

    def format(self, option: int) -> str:
        """The count."""
        return str(option)

    def parse(self, text: str) -> int:
        """The count."""
        return int(text)

    def inside(self, block: Block) -> Sequence[str]:
        """The groups that live in the block alone."""
        return block.groups

    def is_at(self, plan: LayerPlan, part: str) -> bool:
        """Whether the layer writes the group."""
        return part in plan.outputs.groups

    def chosen(self, policy: Policy) -> Mapping[str, int]:
        """The policy's own field."""
        return policy.channels

    def policy(self, options: Mapping[str, int]) -> Policy:
        """The policy's own field."""
        return Policy(options)

    def measurer(self, space: Space, bench: Bench) -> Measurer:
        """The database's weights of what reads the group, written at full size."""
        return OneByOne(bench, _patched, _readers)


def _readers(bench: Bench, variable: Variable) -> Collection[str]:
    """All whose weights a count changes: what reads the group, what writes pieces or products."""
    entry = bench.database.entries[variable.name]
    sides = [side for pair in entry.group.pairs for side in (pair.left, pair.right)]
    sides += entry.group.producers if entry.group.units else ()
    return {module for module, _ in entry.slots} | {side.module for side in sides}


@contextmanager
def _patched(bench: Bench, group: str, count: int) -> Iterator[Tensor]:
    from automl.compression.database import read_patch, write_patch

    patches = bench.database.patches(Policy({group: count}))
    before = {name: read_patch(bench.model.get_submodule(name)) for name in patches}
    try:
        for name, patch in patches.items():
            write_patch(bench.model.get_submodule(name), patch)
        yield bench.images
    finally:
        for name, patch in before.items():
            write_patch(bench.model.get_submodule(name), patch)


def _counts(group: ChannelGroup, settings: SpaceSettings) -> tuple[int, ...]:
    default, round_to = sixteenth(group.channels), settings.round_to
    granularity = round_to if isinstance(round_to, int) else round_to.get(group.name, default)
    if granularity < 1:
        raise SpaceError(f"channels cannot be rounded to multiples of {granularity}")
    if isinstance(round_to, int):  # of channels, of which several may go together
        granularity = math.lcm(granularity, group.width) // group.width
    step = math.lcm(granularity, group.partition)
    step *= max(1, math.ceil(group.channels / step / MAXIMUM_OPTIONS))
    least = max(step, math.ceil(settings.minimum_share * group.channels))
    counts = [count for count in range(step, group.channels, step) if count >= least]
    return (*counts, group.channels)
