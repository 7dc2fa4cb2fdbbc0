"""Merge: layers that follow each other become one, without the activation between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from automl.compression.kinds.base import DENSE, Bench, CompressionKind, Floats, Measurer
from automl.compression.kinds.bits import held_ends
from automl.errors import SpaceError
from automl.network import Block, Chain, MergeableLayers, Network, chains, rows_of
from automl.space import Pairwise, Space, SpaceSettings, Variable, bit_options

if TYPE_CHECKING:
    from automl.compression.kinds.merged_bits import MergedBits
    from automl.compression.merging import Merging

_MERGED = "merged"


class MergeKind(CompressionKind[int]):
    """Whether layers stay apart (1) or become one (0), which is named by the first of them.

    Source: DepthShrinker (Fu et al. 2022) and LayerMerge (Kim et al. 2024), which train which
    activations go, then the network. Differs: nothing is trained. The one layer is solved by least
    squares towards what the last layer of the dense network writes, activation and all, and which
    layers become one is chosen by that and by the price of the one, with all else that is.
    """

    name = "merge"
    ordered = True
    by_part = False

    def variables(self, network: Network, settings: SpaceSettings) -> Sequence[Variable]:
        """One for each merge, where the kind is open.

        A first layer that keeps its bits is merged into none: the one would have those of the last.
        """
        merges = network.merges if self.name in settings.kinds else ()
        held = held_ends(network, settings)
        return [
            Variable(self.name, merge.name, (0, 1))
            for merge in merges
            if held.isdisjoint(merge.chain[:-1])
        ]

    def format(self, option: int) -> str:
        """As "merged" or "dense"."""
        return DENSE if option else _MERGED

    def parse(self, text: str) -> int:
        """As "merged" or "dense"."""
        if text not in (DENSE, _MERGED):
            raise ValueError(f"{text!r} is neither {_MERGED!r} nor {DENSE!r}")
        return int(text == DENSE)

    def inside(self, block: Block) -> Sequence[str]:
        """Merges of layers of which some are in the block."""
        return block.merges

    def changes(self, option: int) -> bool:
        """Whether the layers become one."""
        return not option

    def measurer(self, space: Space, bench: Bench) -> Measurer:
        """The network with some layers as one, solved on what the dense network reads there."""
        if bench.merging is None:
            raise SpaceError("the space has merges: they cannot be measured without the images")
        return _Measurer(bench, bench.merging, space)


class _Measurer:
    """Measures merges alone, and two in a row together, each with its bits.

    Args:
        bench: What they are made on.
        merging: Makes them.
        space: Of the choices.
    """

    def __init__(self, bench: Bench, merging: Merging, space: Space) -> None:
        self._bench, self._merging, self._space = bench, merging, space
        opened = {space.variables[each].name for each in space.of_kind(MergeKind.name)}
        rows = rows_of([each for each in merging.network.merges if each.name in opened])
        self._merges = {each.name: each for row in rows for each in row}
        #: By what two merges in a row make: both of them.
        self._pairs = {_joined(pair): pair for row in rows for pair in pairwise(row)}
        self._bits = self._rounding()
        merging.solve([*(each.chain for each in self._merges.values()), *self._pairs])
        #: By chain: what bits of the one layer do beyond the merge and the dense ones.
        self._beyond: dict[Chain, Floats] = {}

    def _rounding(self) -> MergedBits | None:
        """What measures bits of the layers that are made; None where they have none."""
        from automl.compression.kinds.merged_bits import MergedBits

        bench, space = self._bench, self._space
        known = {
            chain: bit_options(space.variables[space.positions["bits", chain[-1]]])
            for chain in (*(each.chain for each in self._merges.values()), *self._pairs)
            if ("bits", chain[-1]) in space.positions
        }
        options = {chain: each for chain, each in known.items() if len(each) > 1}
        if bench.rounded is None or not options:
            return None
        self._merging.solve([*options], moments=True)
        return MergedBits(
            bench.rounded, options, bench.model, lambda made: bench.change(made, bench.images)
        )

    def row(self, variable: Variable, on_option: Callable[[], None]) -> Floats:
        """As `Measurer.row`."""
        chain = self._merges[variable.name].chain
        found = np.array([self._change(chain), 0.0])
        self._round(chain)
        for joined, (_, other) in self._pairs.items():
            if other.name == variable.name:
                self._round(joined)
        on_option()
        return found

    def _round(self, chain: Chain) -> None:
        if self._bits is not None and chain in self._bits.chains:
            self._beyond[chain] = self._bits.beyond(
                chain, self._merging.moments_of(chain), lambda adds: self._made(chain, adds)
            )

    def pairwise(self, sensitivity: Sequence[Floats]) -> Pairwise:
        """What two merges in a row do together beyond the sum of both, and each with its bits.

        What bits of the one layer of both do beyond those of the second merge is of three choices.
        """
        positions = self._space.positions
        found: list[tuple[tuple[int, ...], Floats]] = []
        for name, merge in self._merges.items():
            if merge.chain in self._beyond:
                beyond, bits = self._beyond[merge.chain], positions["bits", merge.last]
                table = np.zeros((2, len(beyond)))
                table[0] = beyond - sensitivity[bits]
                found.append(((positions[MergeKind.name, name], bits), table))
        for chain, pair in self._pairs.items():
            one, other = (positions[MergeKind.name, each.name] for each in pair)
            both = np.zeros((2, 2))
            both[0, 0] = self._change(chain) - sensitivity[one][0] - sensitivity[other][0]
            found.append(((one, other), both))
            if chain in self._beyond:
                rounded = np.zeros((2, 2, len(self._beyond[chain])))
                rounded[0, 0] = self._beyond[chain] - self._beyond[pair[1].chain]
                found.append(((one, other, positions["bits", chain[-1]]), rounded))
        return tuple(found)

    def _change(self, chain: Chain) -> float:
        adding = {each.chain for each in self._merges.values() if each.addition}
        with self._made(chain, chain in adding):
            return self._bench.change(self._bench.model, self._bench.images)

    @contextmanager
    def _made(self, chain: Chain, adds: bool) -> Iterator[None]:
        from automl.network import merge_layers, replace_layer

        model = self._bench.model
        before = {name: model.get_submodule(name) for name in chain}
        merged = self._merging.solved(chain, adds=adds)
        try:
            merge_layers(model, chain, merged, adds=adds)
            yield
        finally:
            for name, module in before.items():
                replace_layer(model, name, module)


def _joined(pair: tuple[MergeableLayers, MergeableLayers]) -> Chain:
    (chain,) = chains(pair, [merge.name for merge in pair])
    return chain
