"""The policy of least additive harm within a budget.

Where the cost is a sum of factors over few variables, the answer is the true optimum (with
`proven`), or has a bound beside it. Where it is not (layers that read many groups at once), the
cost is made linear around one policy after another and the best is improved by local search.
Everything is priced in full before it is believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from automl.cost import Budget, CostModel, Factor
from automl.errors import InfeasibleError
from automl.solver.bucket_elimination import Floats, Integers, Part
from automl.solver.lagrangian_dual import minimise
from automl.solver.local_search import Task, improve, repair
from automl.space import Joint, Vectors
from automl.units import round_up

#: Times that the cost is made linear anew where it is no sum of small factors.
_ROUNDS: Final = 6
#: Times that limits are drawn in by a rounding error when the full price says so.
_ROUNDINGS: Final = 4


@dataclass(frozen=True, slots=True)
class Solution:
    """A policy within the budget.

    Attributes:
        vector: The policy [variables].
        harm: Its additive harm.
        costs: Its full price [quantities].
        bound: No policy within the budget has less additive harm.
        proven: Whether `harm` is the least.
    """

    vector: Vectors
    harm: float
    costs: Floats
    bound: float
    proven: bool


def solve(
    costs: CostModel,
    harm: Sequence[Floats],
    budget: Budget,
    held: Mapping[int, int] | None = None,
    joint: Joint = (),
) -> Solution:
    """The policy of least additive harm within the budget.

    Args:
        costs: Prices of the space.
        harm: Per variable, per option; an option whose harm is not finite is not used.
        budget: Limits on one or several quantities.
        held: Variables that must take one option (by index), for instance the resolution.
        joint: Harm of pairs of variables beside that of each, as in `Sensitivity.joint`.

    Raises:
        InfeasibleError: If no policy meets the budget; names the smallest cost.
    """
    held = held or {}
    allowed = tuple(
        np.array([held[variable]]) if variable in held else np.flatnonzero(np.isfinite(each))
        for variable, each in enumerate(harm)
    )
    task = Task(costs, tuple(harm), budget, allowed, joint)
    factors, whole = costs.factors()
    solution = _by_factors(task, factors) if whole else None
    return _by_search(task) if solution is None else solution


def _by_factors(task: Task, factors: Sequence[Factor]) -> Solution | None:
    """The answer where the cost is a sum of factors; None where they hang together too widely."""
    columns = task.columns
    parts = _harm_parts(task)
    constant = task.costs.constant[columns]
    allowed = [*task.allowed, *(np.arange(size) for size in task.costs.auxiliary)]
    for factor in factors:
        table = factor.table[np.ix_(*(allowed[v] for v in factor.scope))][..., columns]
        if factor.scope:
            free = np.zeros((*table.shape[:-1], 1))
            parts.append(Part(factor.scope, np.concatenate([free, table], axis=-1)))
        else:
            constant = constant + table
    limits = task.limits - constant
    for _ in range(_ROUNDINGS):
        found = minimise([len(options) for options in allowed], parts, limits)
        if found is None:
            return None
        if found.assignment is None:
            if found.proven:
                raise _infeasible(task, found.least + constant)
            return None
        vector = _vector(task, found.assignment)
        if task.excess_of(vector) <= 0.0:
            return _solution(task, vector, found.bound, found.proven)
        # Sums in another order differ by rounding: leave room for it.
        limits = limits - 1e-12 * np.abs(task.limits)
    return None


def _by_search(task: Task) -> Solution:
    """The best found with costs that are linear around one policy after another."""
    best = _reachable(task)
    reference = _vector(task, np.array([len(options) - 1 for options in task.allowed]))
    slopes = [np.zeros((len(options), len(task.columns))) for options in task.allowed]
    for done in range(_ROUNDS):
        base = task.costs.price(reference[None])[0, task.columns]
        parts = _harm_parts(task)
        for variable, slope in enumerate(_marginals(task, reference)):
            slopes[variable] += (slope - slopes[variable]) / (done + 1)
            here = slopes[variable][task.allowed[variable] == reference[variable]]
            relative = slopes[variable] - here
            parts.append(Part((variable,), np.column_stack([np.zeros(len(slope)), relative])))
        found = minimise([len(options) for options in task.allowed], parts, task.limits - base)
        if found is None or found.assignment is None:
            break
        reference = _vector(task, found.assignment)
        candidate = repair(task, reference)
        if task.excess_of(candidate) <= 0.0:
            best = min(best, candidate, key=task.harm_of)
    least = sum(float(part.table[..., 0].min()) for part in _harm_parts(task))
    return _solution(task, improve(task, best), least, proven=False)


def _marginals(task: Task, reference: Vectors) -> list[Floats]:
    """Per variable: costs of its options relative to its last, all else as in the reference."""
    lengths = [len(options) for options in task.allowed]
    varied = np.tile(reference, (sum(lengths), 1))
    columns = np.repeat(np.arange(len(lengths)), lengths)
    varied[np.arange(len(varied)), columns] = np.concatenate(task.allowed)
    costs = task.costs.price(varied)[:, task.columns]
    return [each - each[-1] for each in np.split(costs, np.cumsum(lengths)[:-1])]


def _reachable(task: Task) -> Vectors:
    """A policy within the budget, from the dense end or from the other."""
    starts = (
        _vector(task, np.array([len(options) - 1 for options in task.allowed])),
        _vector(task, np.zeros(len(task.allowed), dtype=np.int64)),
    )
    nearest = min((repair(task, start) for start in starts), key=task.excess_of)
    if task.excess_of(nearest) > 0.0:
        raise _infeasible(task, task.costs.price(nearest[None])[0, task.columns])
    return nearest


def _harm_parts(task: Task) -> list[Part]:
    parts: list[Part] = []
    for variable, (harm, options) in enumerate(zip(task.harm, task.allowed, strict=True)):
        table = np.zeros((len(options), 1 + len(task.columns)))
        table[:, 0] = harm[options]
        parts.append(Part((variable,), table))
    for pair, extra in task.joint:
        both = np.zeros((*(len(task.allowed[each]) for each in pair), 1 + len(task.columns)))
        both[..., 0] = extra[np.ix_(*(task.allowed[each] for each in pair))]
        parts.append(Part(pair, both))
    return parts


def _vector(task: Task, assignment: Integers) -> Vectors:
    """The vector of an assignment of the allowed options, that of auxiliary variables left out."""
    chosen = [options[i] for options, i in zip(task.allowed, assignment, strict=False)]
    return np.array(chosen, dtype=np.int16)


def _solution(task: Task, vector: Vectors, bound: float, proven: bool) -> Solution:
    vector = task.costs.space.canonical(vector)
    return Solution(
        vector,
        task.harm_of(vector),
        task.costs.price(vector[None])[0],
        bound,
        proven,
    )


def _infeasible(task: Task, least: Floats) -> InfeasibleError:
    """The error that names what can be reached of each limited quantity."""
    reached = ", ".join(
        limit.format(round_up(float(value)))
        for limit, value in zip(task.budget.limits, least, strict=True)
    )
    return InfeasibleError(
        f"no policy of this space meets the budget of {task.budget}: the least is {reached}"
    )
