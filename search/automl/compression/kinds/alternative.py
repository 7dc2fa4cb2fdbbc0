"""Alternatives: something else in the place of convolutions that follow each other, distilled."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from automl.compression.blocks.registry import BLOCKS, block_form
from automl.compression.kinds.base import DENSE, Bench, CompressionKind, Measurer, OneByOne
from automl.errors import SpaceError
from automl.network import Block, BlockUnit, LayerPlan, Network, units_of
from automl.space import Space, SpaceSettings, Variable

if TYPE_CHECKING:
    from torch import Tensor


class AlternativeKind(CompressionKind[str]):
    """What runs in a unit's place, named by its first convolution: an alternative, or itself.

    Source: LANA (Molchanov et al. 2022) and Puzzle (Bercovich et al. 2024): a library of
    alternatives, each trained alone, of which a solver picks. Differs: it picks with all other
    choices, and by measured prices.
    """

    name = "alternative"
    by_part = False
    replaces = True

    def variables(self, network: Network, settings: SpaceSettings) -> Sequence[Variable]:
        """One for each unit that can become something, where the kind is open.

        Those with a special kernel are open where they are named.
        """
        if self.name not in settings.kinds:
            return []
        plain = [name for name in BLOCKS.names() if not block_form(name).kernel]
        names = settings.alternatives or plain
        found = []
        for unit in units_of(network):
            forms = tuple(
                name
                for name in BLOCKS.names()
                if name in names and _can(name, unit) and not _refused(name, unit, settings)
            )
            if forms:
                found.append(Variable(self.name, unit.name, (*forms, DENSE)))
        return found

    def format(self, option: str) -> str:
        """A name, or "dense"."""
        return option

    def parse(self, text: str) -> str:
        """A name, or "dense"."""
        if text != DENSE and text not in BLOCKS.names():
            raise ValueError(
                f"{text!r} is neither {DENSE!r} nor one of {', '.join(BLOCKS.names())}"
            )
        return text

    def inside(self, block: Block) -> Sequence[str]:
        """Units in the block: they begin with a merge of it."""
        return block.merges

    def changes(self, option: str) -> bool:
        """Whether something else runs."""
        return option != DENSE

    def gone(self, option: str, network: Network, part: str) -> frozenset[str]:
        """The unit's layers, with what is between them; without its gate all of that."""
        if option == DENSE:
            return frozenset()
        unit = _unit(network, part)
        if unit.gate is not None and block_form(option).opens_gates:
            return frozenset(unit.gate.layers)
        return frozenset(unit.layers)

    def running(self, option: str, network: Network, part: str) -> tuple[LayerPlan, ...]:
        """The operators of the stages."""
        if option == DENSE:
            return ()
        stages = block_form(option).stages(_unit(network, part))
        return tuple(plan for stage in stages for plan in stage.operators)

    def measurer(self, space: Space, bench: Bench) -> Measurer:
        """The network with a trained alternative in one unit's place, or without its gate."""
        if bench.library is None:
            raise SpaceError("the space has alternatives: they cannot be measured untrained")
        bench.library.train(space)
        return OneByOne(bench, _in_place, _layers)


def _layers(bench: Bench, variable: Variable) -> Collection[str]:
    assert bench.library is not None
    unit = bench.library.units[variable.name]
    return unit.chain if unit.gate is None else (*unit.chain, unit.gate.name)


@contextmanager
def _in_place(bench: Bench, name: str, option: str) -> Iterator[Tensor]:
    from automl.compression.blocks.building import put
    from automl.compression.blocks.gates import leave_out

    assert bench.library is not None
    unit = bench.library.units[name]
    if unit.gate is not None and block_form(option).opens_gates:
        undo = leave_out(bench.model, unit.gate, bench.library.factors_of(unit.gate))
    else:
        undo = put(bench.model, unit, bench.library.made(unit, option))
    try:
        yield bench.images
    finally:
        undo()


def _refused(name: str, unit: BlockUnit, settings: SpaceSettings) -> bool:
    """Whether a convolution of it needs a kernel that has no price there."""
    plans = (plan for stage in block_form(name).stages(unit) for plan in stage.plans)
    return any(plan.kernel in settings.refused.get(plan.layer.name, ()) for plan in plans)


def _can(name: str, unit: BlockUnit) -> bool:
    return block_form(name).takes(unit)


def _unit(network: Network, name: str) -> BlockUnit:
    found = {unit.name: unit for unit in units_of(network)}
    if name not in found:
        raise SpaceError(f"alternative of {name!r}: no convolutions in a row begin there")
    return found[name]
