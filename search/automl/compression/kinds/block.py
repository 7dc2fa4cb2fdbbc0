"""Depth: a block stays, or the identity takes its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from automl.compression.kinds.base import Bench, CompressionKind, Measurer, OneByOne
from automl.network import Block, LayerPlan, Network
from automl.policy import Policy
from automl.space import Space, SpaceSettings, Variable

if TYPE_CHECKING:
    from torch import Tensor


class BlockKind(CompressionKind[int]):
    """Whether a block stays (1) or is left out (0)."""

    name = "block"
    ordered = True

    def variables(self, network: Network, settings: SpaceSettings) -> Sequence[Variable]:
        """One a removable block, where depth is open."""
        blocks = network.blocks if settings.depth else ()
        return [Variable(self.name, block.name, (0, 1)) for block in blocks]

    def format(self, option: int) -> str:
        """1 where it stays, 0 where it is left out."""
        return str(option)

    def parse(self, text: str) -> int:
        """1 where it stays, 0 where it is left out."""
        return int(text)

    def inside(self, block: Block) -> Sequence[str]:
        """Nothing: removable blocks do not lie in each other."""
        return ()

    def is_at(self, plan: LayerPlan, part: str) -> bool:
        """Whether the layer lives in the block."""
        return plan.block == part

    def chosen(self, policy: Policy) -> Mapping[str, int]:
        """The policy's own field."""
        return dict.fromkeys(sorted(policy.removed), 0)

    def policy(self, options: Mapping[str, int]) -> Policy:
        """The policy's own field."""
        return Policy(removed=frozenset(name for name, stays in options.items() if not stays))

    def measurer(self, space: Space, bench: Bench) -> Measurer:
        """The network without one block."""
        return OneByOne(bench, _without, lambda _, variable: (variable.name,))


@contextmanager
def _without(bench: Bench, block: str, stays: int) -> Iterator[Tensor]:
    from automl.network import remove

    parent, _, leaf = block.rpartition(".")
    original = bench.model.get_submodule(block)
    try:
        remove(bench.model, frozenset({block}))
        yield bench.images
    finally:
        setattr(bench.model.get_submodule(parent), leaf, original)
