"""Least additive sensitivity under limits on sums of small tables.

The answer is exact where the sum's chain is narrow.

Multipliers of the limits are found first (for one limit by the intersections of Handler and Zang,
"A dual algorithm for the constrained shortest path problem", 1980; for several by cutting planes);
then the gap is closed by dynamic programming.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import linprog

from automl.solver.bucket_elimination import Chain, Factor, Floats, Integers, build_chain
from automl.solver.dynamic_programming import close_gap

#: Partial assignments kept: in the first, quick pass, and in the one that proves.
QUICK: Final = 500
THOROUGH: Final = 100_000
#: Cutting planes for the multipliers of several limits.
_CUTS: Final = 60
#: Sensitivity that differs by less than this share of the largest is the same.
_SLACK: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Optimum:
    """The best assignment that was found.

    Attributes:
        assignment: Option per variable; None where no assignment within the limits was found.
        sensitivity: Its sensitivity.
        bound: No assignment within the limits has less sensitivity.
        proven: Whether `bound` is the sensitivity, but for rounding (or there is no assignment at
            all).
        least: Smallest sum of each cost that can be reached by itself.
    """

    assignment: Integers | None
    sensitivity: float
    bound: float
    proven: bool
    least: Floats


def minimise(sizes: Sequence[int], parts: Sequence[Factor], limits: Floats) -> Optimum | None:
    """The assignment of least sensitivity whose costs stay within the limits.

    Args:
        sizes: Number of options per variable.
        parts: Terms of sensitivity and costs, finite.
        limits: Largest sum of each cost [costs].

    Returns:
        None where the parts depend on each other too widely to be taken apart.
    """
    hub = _hub(sizes, parts)
    if hub is None:
        chain = build_chain(sizes, parts, 1 + len(limits))
        none = np.zeros(len(limits))
        return None if chain is None else _minimise(chain, limits, math.inf, none)[0]
    chains: list[Chain] = []
    for option in range(sizes[hub]):
        chain = build_chain(*_condition(sizes, parts, hub, option), 1 + len(limits))
        if chain is None:
            return None
        chains.append(chain)
    return _best_of(chains, hub, limits)


def _best_of(chains: Sequence[Chain], hub: int, limits: Floats) -> Optimum:
    """The best over all options of the hub, the most promising first."""
    free = np.eye(1 + len(limits))[0]
    floors = [float(chain.remaining(free)[0][0]) for chain in chains]
    best = Optimum(None, math.inf, math.inf, True, np.full(len(limits), math.inf))
    near = np.zeros(len(limits))
    for option in np.argsort(floors, kind="stable").tolist():
        found, near = _minimise(chains[option], limits, best.sensitivity, near)
        assignment, sensitivity = best.assignment, best.sensitivity
        if found.assignment is not None and found.sensitivity < sensitivity:
            assignment, sensitivity = found.assignment.copy(), found.sensitivity
            assignment[hub] = option
        best = Optimum(
            assignment,
            sensitivity,
            min(best.bound, found.bound),
            best.proven and found.proven,
            np.minimum(best.least, found.least),
        )
    return Optimum(
        best.assignment,
        best.sensitivity,
        min(best.bound, best.sensitivity),
        best.proven,
        best.least,
    )


def _hub(sizes: Sequence[int], parts: Sequence[Factor]) -> int | None:
    """A variable that nearly every part depends on (the resolution), best settled from outside."""
    pairwise = [part.scope for part in parts if len(part.scope) > 1]
    counts = np.zeros(len(sizes), dtype=np.int64)
    for scope in pairwise:
        counts[list(scope)] += 1
    if not len(counts) or counts.max() < max(6, 0.6 * len(pairwise)):
        return None
    return int(np.argmax(counts))


def _condition(
    sizes: Sequence[int], parts: Sequence[Factor], hub: int, option: int
) -> tuple[list[int], list[Factor]]:
    """The sum with one variable settled: it keeps its number, with one option."""
    left = [1 if variable == hub else size for variable, size in enumerate(sizes)]
    settled: list[Factor] = []
    for part in parts:
        if hub in part.scope:
            axis = part.scope.index(hub)
            scope = tuple(variable for variable in part.scope if variable != hub)
            table: Floats = np.moveaxis(part.table, axis, 0)[option]
            settled.append(Factor(scope or (hub,), table if scope else table[None]))
        else:
            settled.append(part)
    return left, settled


def _minimise(chain: Chain, limits: Floats, known: float, near: Floats) -> tuple[Optimum, Floats]:
    """The optimum of one chain if it is below `known`, and its multipliers.

    Multipliers `near` them may tell at once that it is not: whatever they are, they give a bound.
    """
    terms = chain.terms
    least = np.array([chain.remaining(row)[0][0] for row in np.eye(terms)[1:]])
    if (least > limits).any():
        return Optimum(None, math.inf, math.inf, True, least), near
    if math.isfinite(known):
        floor = float(chain.remaining(np.array([1.0, *near]))[0][0] - near @ limits)
        if floor >= known:
            return Optimum(None, math.inf, floor, True, least), near
    dual = _one_multiplier if terms == 2 else _multipliers
    multipliers, bound, assignment, sensitivity = dual(chain, limits)
    if bound >= known:
        return Optimum(None, math.inf, bound, True, least), multipliers
    slack = _SLACK * max(1.0, abs(bound), abs(sensitivity) if math.isfinite(sensitivity) else 0.0)
    best = min(sensitivity, known)
    proven = sensitivity <= bound + slack
    for most in (QUICK, THOROUGH):
        if proven:
            break
        closing = close_gap(chain, limits, multipliers, best, most=most, slack=slack)
        if closing.assignment is not None:
            assignment, sensitivity = closing.assignment, float(closing.terms[0])
            best = min(best, sensitivity)
        proven = closing.complete or closing.bound >= best - slack
        bound = best if proven else max(bound, min(closing.bound, best))
    return Optimum(assignment, sensitivity, bound, proven, least), multipliers


_Dual = tuple[Floats, float, Integers | None, float]


def _one_multiplier(chain: Chain, limits: Floats) -> _Dual:
    """Multiplier of one limit, the dual bound, and the best assignment within the limit met.

    Each round asks for the minimiser at the slope between an assignment over the limit and one
    within it, until no assignment lies below the line through the two.
    """
    limit = float(limits[0])
    assignment, over = chain.minimiser(np.array([1.0, 0.0]))
    if over[1] <= limit:
        return np.zeros(1), float(over[0]), assignment, float(over[0])
    assignment, within = chain.minimiser(np.array([0.0, 1.0]))
    sensitivity, best = float(within[0]), assignment
    while True:
        slope = max(0.0, float((within[0] - over[0]) / (over[1] - within[1])))
        assignment, terms = chain.minimiser(np.array([1.0, slope]))
        if terms[1] <= limit and terms[0] < sensitivity:
            sensitivity, best = float(terms[0]), assignment
        value = float(terms[0] + slope * terms[1])
        line = float(over[0] + slope * over[1])
        if value >= line - _SLACK * max(1.0, abs(line)):
            return np.array([slope]), value - slope * limit, best, sensitivity
        if terms[1] <= limit:
            within = terms
        else:
            over = terms


def _multipliers(chain: Chain, limits: Floats) -> _Dual:
    """The same for several limits, by Kelley's cutting planes in the dual."""
    cuts: list[Floats] = []
    sensitivity, best = math.inf, None
    bound, chosen = -math.inf, np.zeros(len(limits))
    # Of the first cuts only the dense one is at true multipliers: the others keep the next finite.
    waiting = [*np.eye(chain.terms)[1:], np.eye(chain.terms)[0]]
    for _ in range(_CUTS):
        weights = waiting.pop()
        assignment, terms = chain.minimiser(weights)
        cuts.append(terms)
        if (terms[1:] <= limits).all() and terms[0] < sensitivity:
            sensitivity, best = float(terms[0]), assignment
        value = float(terms[0] + weights[1:] @ (terms[1:] - limits))
        if weights[0] == 1.0 and value > bound:
            bound, chosen = value, weights[1:]
        if not waiting:
            highest = _highest(np.array(cuts), limits)
            if highest is None:  # the bound that is reached holds; the gap is closed from there
                break
            weights, ceiling = highest
            if ceiling - bound <= 1e-9 * max(1.0, abs(bound)):
                break
            waiting.append(weights)
    return chosen, bound, best, sensitivity


def _highest(cuts: Floats, limits: Floats) -> tuple[Floats, float] | None:
    """Weights (1, multipliers) at which the least of the cuts is highest, and that height.

    None where the linear program is not solved.
    """
    spread, *scale = (float(gap) or 1.0 for gap in np.ptp(cuts, axis=0))
    solved = linprog(
        np.append(np.zeros(len(limits)), -1.0),
        A_ub=np.column_stack([(limits - cuts[:, 1:]) / scale, np.ones(len(cuts))]),
        b_ub=cuts[:, 0],
        bounds=[(0.0, 1e4 * spread)] * len(limits) + [(None, None)],
    )
    if not solved.success:
        return None
    return np.concatenate([[1.0], solved.x[:-1] / np.array(scale)]), float(solved.x[-1])
