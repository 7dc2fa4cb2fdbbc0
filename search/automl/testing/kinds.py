"""A kind of choice that is made up, for what has to work with kinds it has not heard of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from automl.cost import LATENCY, Budget, CostModel, join, lookup_of
from automl.methods import Method
from automl.network import Network
from automl.space import ChoiceKind, Space, SpaceSettings, Variable
from automl.study import Problem
from automl.units import QUANTITIES


class MadeUpKind(ChoiceKind[str]):
    """A kind of choice that no agent has heard of."""

    name = "made-up"

    def variables(self, network: Network, settings: SpaceSettings) -> Sequence[Variable]:
        """None: no network has such parts."""
        return ()

    def format(self, option: str) -> str:
        """The option."""
        return option

    def parse(self, text: str) -> str:
        """The option."""
        return text


#: For `KINDS.including`: the kind is known while a test lasts.
MADE_UP: Final = Method(
    MadeUpKind.name, "Tempting.", "no paper", f"{MadeUpKind.__module__}:{MadeUpKind.__name__}"
)


def with_made_up_kind(problem: Problem) -> Problem:
    """A problem with one choice more, of a kind that is made up.

    The choice saves a fifth of the dense network's cost and does next to no harm; who holds it
    dense has the problem as it was.
    """
    costs, known = problem.costs, problem.sensitivity
    factors, whole = costs.factors()
    assert whole
    assert not costs.auxiliary
    assert known is not None
    variable = Variable(MadeUpKind.name, "part", ("least", "less", "dense"))
    space = Space((*problem.space.variables, variable), problem.space.nested)
    saved = 0.2 * np.nan_to_num(costs.dense.values())
    lookups = [lookup_of(factor.scope, factor.table) for factor in factors]
    lookups.append(
        lookup_of((len(problem.space.sizes),), np.linspace(0.0, 1.0, 3)[:, None] * saved)
    )
    limits = tuple(
        replace(limit, value=limit.value + float(saved[QUANTITIES.index(limit.quantity)]))
        for limit in problem.budget.limits
    )
    return Problem(
        space,
        CostModel(space, join(lookups, space.sizes), float(costs.constant[LATENCY]), costs.energy),
        Budget(limits),
        replace(known, single=(*known.single, np.array([2e-6, 1e-6, 0.0]))),
        (*problem.geometry, *problem.geometry[-1:]),
    )
