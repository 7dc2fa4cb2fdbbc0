"""The operators that one policy's network runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from automl.cost.conversions import conversion
from automl.cost.grids import Lowered, Way, runs_on_integers
from automl.cost.layer_tables import runs_priced
from automl.latency import OpKey, op_key
from automl.network import Block, LayerPlan, Network, chains, merged_plans, units_of
from automl.policy import Bits, Policy, Precisions, bits_of, holds_identity, is_float
from automl.space import AnyKind, alternatives_of, further_choices, merges_of

#: What conversions between precisions are called in place of a layer.
CONVERSIONS: Final = "conversions"


def operators_of(network: Network, policy: Policy, precisions: Precisions) -> list[OpKey]:
    """Operators and conversions of a policy's network, each once.

    Raises:
        SpaceError: A choice of an unknown kind, or one that its kind cannot read.
    """
    return list(dict.fromkeys(key for _, key in layer_operators(network, policy, precisions)))


def layer_operators(
    network: Network, policy: Policy, precisions: Precisions
) -> list[tuple[str, OpKey]]:
    """Each operator that a policy's network runs, with the layer that it runs for.

    Layers that were made one have the name of the first; of a conversion it is `CONVERSIONS`.

    Raises:
        SpaceError: As `operators_of`.
    """
    made = _Made(network, policy, precisions)
    return [*made.layers(), *((CONVERSIONS, key) for key in made.conversions())]


def merges_made(network: Network, policy: Policy) -> frozenset[str]:
    """Names of the merges that a policy makes: those of blocks that it leaves out mean nothing."""
    removed = (each.merges for each in network.blocks if each.name in policy.removed)
    return merges_of(policy).difference(*removed)


def merged_away(network: Network, policy: Policy) -> frozenset[str]:
    """Layers that do not run because others run for them, with additions that these do."""
    made = merges_made(network, policy)
    gone = set[str]()
    for each in network.merges:
        if each.name in made:
            adds = holds_identity(policy.bits.get(each.last, Bits()))
            gone.update(each.gone if adds else each.layers)
    return frozenset(gone)


def with_bits_that_run(network: Network, policy: Policy) -> Policy:
    """The policy without the bits of layers that others run for: these mean nothing.

    One that runs in the place of several has the bits of the last of them, which stay.

    Raises:
        SpaceError: As `operators_of`.
    """
    made, units = merges_made(network, policy), alternatives_of(policy)
    gone = {layer for each in network.merges if each.name in made for layer in each.chain[:-1]}
    gone.update(layer for each in units_of(network) if each.name in units for layer in each.chain)
    return replace(
        policy, bits={name: bits for name, bits in policy.bits.items() if name not in gone}
    )


@dataclass(frozen=True)
class _Made:
    """A policy's network."""

    network: Network
    policy: Policy
    precisions: Precisions

    def layers(self) -> Iterator[tuple[str, OpKey]]:
        """What runs, in network order, by layer."""
        made = chains(self.network.merges, self._made)
        gone = merged_away(self.network, self.policy)
        for plan in self.network.plans:
            if plan.block in self.policy.removed and plan.block:
                continue
            if plan.layer.name not in gone | self._replaced:
                yield from ((plan.layer.name, key) for key in self._layer(plan))
        for each in merged_plans(self.network) if made else ():
            if each.chain in made:
                yield from ((each.chain[0], key) for key in self._layer(each.plan))
        for kind, part, option in self._replacing:
            for plan in kind.running(option, self.network, part):
                if not (plan.block in self.policy.removed and plan.block):
                    yield from ((part, key) for key in self._layer(plan))

    def _layer(self, plan: LayerPlan) -> Iterator[OpKey]:
        """What one layer runs as."""
        dense = self.precisions.dense
        if not runs_priced(plan.layer.op, self.precisions):
            return
        bits = self._written_in(plan.owner, plan.block)
        layer = plan.at(self._channels, self._resolution)
        name = self.precisions.name_of(bits) if runs_on_integers(plan.layer) else dense
        way = Way(name, self._lowerings.get(plan.layer.name), dense, plan.kernel)
        yield from map(way.key, way.operators(layer))

    def conversions(self) -> Iterator[OpKey]:
        """Where a value is read in another precision than it is written in."""
        if self.precisions.simulated:
            return
        converted = set[tuple[str, str]]()
        merged = [each for each in self.network.merges if each.name in self._made]
        read_as = {chain[0]: chain[-1] for chain in chains(merged, self._made)}
        for boundary in self.network.boundaries:
            block = boundary.reader_block
            if (block in self.policy.removed and block) or any(
                each.holds(boundary.producer, boundary.reader) for each in merged
            ):
                continue
            reader = read_as.get(boundary.consumer, boundary.consumer)
            written, read = (
                is_float(self._written_in(layer, block)) for layer in (boundary.producer, reader)
            )
            if detail := conversion(written, [read]):
                if boundary.value and (boundary.value, detail) in converted:
                    continue
                converted.add((boundary.value, detail))
                layer = boundary.plan.at(self._channels, self._resolution)
                yield op_key(replace(layer, detail=detail), "int8")

    def _written_in(self, layer: str, block: str) -> Bits:
        """The bits that a layer's output is in where a block (or none) reads it.

        What a removed block would have written is what entered it.
        """
        while layer in self._passed and self._blocks.get(layer) != block:
            layer = self._passed[layer]
        return self.policy.bits.get(layer, bits_of(self.precisions.dense))

    @cached_property
    def _passed(self) -> Mapping[str, str]:
        """Per last layer of a removed block: the layer that wrote what entered the block."""
        return {
            block.leaves: block.enters for block in self._removed if block.leaves in block.layers
        }

    @cached_property
    def _removed(self) -> tuple[Block, ...]:
        return tuple(each for each in self.network.blocks if each.name in self.policy.removed)

    @cached_property
    def _blocks(self) -> Mapping[str, str]:
        return {plan.layer.name: plan.block for plan in self.network.plans}

    @cached_property
    def _made(self) -> frozenset[str]:
        """Merges that are made."""
        return merges_made(self.network, self.policy)

    @cached_property
    def _replacing(self) -> tuple[tuple[AnyKind, str, Any], ...]:
        """Choices that have others run in the place of layers: (kind, part, option)."""
        return tuple(each for each in further_choices(self.policy) if each[0].replaces)

    @cached_property
    def _replaced(self) -> frozenset[str]:
        """Layers in whose place others run, or nothing."""
        each = (kind.gone(option, self.network, part) for kind, part, option in self._replacing)
        return frozenset().union(*each)

    @cached_property
    def _channels(self) -> Mapping[str, int]:
        return self.network.dense_channels | dict(self.policy.channels)

    @cached_property
    def _resolution(self) -> int:
        sizes = self.network.resolutions
        return sizes.index(self.policy.resolution) if self.policy.resolution else len(sizes) - 1

    @cached_property
    def _lowerings(self) -> Mapping[str, Lowered]:
        return {
            part: Lowered(kind, option)
            for kind, part, option in further_choices(self.policy)
            if kind.lowers
        }
