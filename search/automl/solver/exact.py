"""The policy of least additive sensitivity within a budget.

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

from automl.cost import Budget, CostFactor, CostModel
from automl.errors import InfeasibleError
from automl.solver.bucket_elimination import Factor, Floats, Integers, undominated
from automl.solver.lagrangian_dual import minimise
from automl.solver.local_search import AdditiveProblem, improve, repair
from automl.space import Pairwise, Vectors

#: Times that the cost is made linear anew where it is no sum of small factors.
_ROUNDS: Final = 6
#: Times that limits are drawn in by a rounding error when the full price says so.
_ROUNDINGS: Final = 4


@dataclass(frozen=True, slots=True)
class Solution:
    """A policy within the budget.

    Attributes:
        vector: The policy [variables].
        sensitivity: Its additive sensitivity.
        costs: Its full price [quantities].
        bound: No policy within the budget has less additive sensitivity.
        proven: Whether `sensitivity` is the least.
    """

    vector: Vectors
    sensitivity: float
    costs: Floats
    bound: float
    proven: bool


def solve(
    costs: CostModel,
    sensitivity: Sequence[Floats],
    budget: Budget,
    held: Mapping[int, int] | None = None,
    pairwise: Pairwise = (),
) -> Solution:
    """The policy of least additive sensitivity within the budget.

    Args:
        costs: Prices of the space.
        sensitivity: Per variable, per option; an option whose sensitivity is not finite is not
            used.
        budget: Limits on one or several quantities.
        held: Variables that must take one option (by index), for instance the resolution.
        pairwise: Sensitivity of variables together beside that of each, as in
            `Sensitivity.pairwise`.

    Raises:
        InfeasibleError: If no policy meets the budget; names the smallest cost.
    """
    held = held or {}
    allowed = tuple(
        np.array([held[variable]]) if variable in held else np.flatnonzero(np.isfinite(each))
        for variable, each in enumerate(sensitivity)
    )
    problem = AdditiveProblem(costs, tuple(sensitivity), budget, allowed, pairwise)
    factors, whole = costs.factors()
    solution = _by_factors(problem, factors) if whole else None
    return _by_search(problem) if solution is None else solution


def _by_factors(problem: AdditiveProblem, factors: Sequence[CostFactor]) -> Solution | None:
    """The answer where the cost is a sum of narrow factors; None where they are too wide."""
    columns = problem.columns
    parts = _sensitivity_factors(problem)
    constant = problem.costs.constant[columns]
    allowed = [*problem.allowed, *(np.arange(size) for size in problem.costs.auxiliary)]
    for factor in factors:
        table = factor.table[np.ix_(*(allowed[v] for v in factor.scope))][..., columns]
        if factor.scope:
            free = np.zeros((*table.shape[:-1], 1))
            parts.append(Factor(factor.scope, np.concatenate([free, table], axis=-1)))
        else:
            constant = constant + table
    limits = problem.limits - constant
    useful = undominated([len(options) for options in allowed], parts)
    parts = [each.restricted(useful) for each in parts]
    for _ in range(_ROUNDINGS):
        found = minimise([len(options) for options in useful], parts, limits)
        if found is None:
            return None
        if found.assignment is None:
            if found.proven:
                raise _infeasible(problem, found.least + constant)
            return None
        chosen = [int(useful[place][option]) for place, option in enumerate(found.assignment)]
        vector = _vector(problem, np.array(chosen))
        if problem.excess_of(vector) <= 0.0:
            return _solution(problem, vector, found.bound, found.proven)
        # Sums in another order differ by rounding: leave room for it.
        limits = limits - 1e-12 * np.abs(problem.limits)
    return None


def _by_search(problem: AdditiveProblem) -> Solution:
    """The best found with costs that are linear around one policy after another."""
    best = _reachable(problem)
    reference = _vector(problem, np.array([len(options) - 1 for options in problem.allowed]))
    slopes = [np.zeros((len(options), len(problem.columns))) for options in problem.allowed]
    for done in range(_ROUNDS):
        base = problem.costs.price(reference[None])[0, problem.columns]
        parts = _sensitivity_factors(problem)
        for variable, slope in enumerate(_marginals(problem, reference)):
            slopes[variable] += (slope - slopes[variable]) / (done + 1)
            here = slopes[variable][problem.allowed[variable] == reference[variable]]
            relative = slopes[variable] - here
            parts.append(Factor((variable,), np.column_stack([np.zeros(len(slope)), relative])))
        found = minimise(
            [len(options) for options in problem.allowed], parts, problem.limits - base
        )
        if found is None or found.assignment is None:
            break
        reference = _vector(problem, found.assignment)
        candidate = repair(problem, reference)
        if problem.excess_of(candidate) <= 0.0:
            best = min(best, candidate, key=problem.sensitivity_of)
    least = sum(float(part.table[..., 0].min()) for part in _sensitivity_factors(problem))
    return _solution(problem, improve(problem, best), least, proven=False)


def _marginals(problem: AdditiveProblem, reference: Vectors) -> list[Floats]:
    """Per variable: costs of its options relative to its last, all else as in the reference."""
    lengths = [len(options) for options in problem.allowed]
    varied = np.tile(reference, (sum(lengths), 1))
    columns = np.repeat(np.arange(len(lengths)), lengths)
    varied[np.arange(len(varied)), columns] = np.concatenate(problem.allowed)
    costs = problem.costs.price(varied)[:, problem.columns]
    return [each - each[-1] for each in np.split(costs, np.cumsum(lengths)[:-1])]


def _reachable(problem: AdditiveProblem) -> Vectors:
    """A policy within the budget, from the dense end or from the other."""
    starts = (
        _vector(problem, np.array([len(options) - 1 for options in problem.allowed])),
        _vector(problem, np.zeros(len(problem.allowed), dtype=np.int64)),
    )
    nearest = min((repair(problem, start) for start in starts), key=problem.excess_of)
    if problem.excess_of(nearest) > 0.0:
        raise _infeasible(problem, problem.costs.price(nearest[None])[0, problem.columns])
    return nearest


def _sensitivity_factors(problem: AdditiveProblem) -> list[Factor]:
    parts: list[Factor] = []
    for variable, (sensitivity, options) in enumerate(
        zip(problem.single, problem.allowed, strict=True)
    ):
        table = np.zeros((len(options), 1 + len(problem.columns)))
        table[:, 0] = sensitivity[options]
        parts.append(Factor((variable,), table))
    for together, extra in problem.pairwise:
        some = extra[np.ix_(*(problem.allowed[each] for each in together))]
        table = np.zeros((*some.shape, 1 + len(problem.columns)))
        table[..., 0] = some
        parts.append(Factor(together, table))
    return parts


def _vector(problem: AdditiveProblem, assignment: Integers) -> Vectors:
    """The vector of an assignment of the allowed options, that of auxiliary variables left out."""
    chosen = [options[i] for options, i in zip(problem.allowed, assignment, strict=False)]
    return np.array(chosen, dtype=np.int16)


def _solution(problem: AdditiveProblem, vector: Vectors, bound: float, proven: bool) -> Solution:
    vector = problem.costs.space.canonical(vector)
    return Solution(
        vector,
        problem.sensitivity_of(vector),
        problem.costs.price(vector[None])[0],
        bound,
        proven,
    )


def _infeasible(problem: AdditiveProblem, least: Floats) -> InfeasibleError:
    """The error that names what can be reached of each limited quantity."""
    names = [limit.quantity for limit in problem.budget.limits]
    return InfeasibleError(problem.budget, dict(zip(names, least.tolist(), strict=True)))
