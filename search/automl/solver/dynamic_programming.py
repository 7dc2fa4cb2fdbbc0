"""Closing the gap that a multiplier leaves: dynamic programming over costs and sensitivity.

Partial assignments are kept as lists of (frontier, costs, sensitivity). One is dropped when it
cannot end within the limits, when the Lagrangian bound says that it cannot beat the best that is
known, or when another with the same frontier is nowhere worse. For unary problems this is the
multiple-choice knapsack by reduction and dynamic programming (Pisinger, "A minimal algorithm for
the multiple-choice knapsack problem", 1995), without the core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from automl.solver.bucket_elimination import Chain, EliminationStep, Floats, Integers


@dataclass(frozen=True, slots=True)
class Closing:
    """What the dynamic programme found.

    Attributes:
        assignment: Better than what was known, or None.
        terms: Its sensitivity and costs.
        complete: False when the lists were cut short, so that better ones may have been lost.
        bound: No assignment within the limits has less sensitivity than this or what was found.
    """

    assignment: Integers | None
    terms: Floats
    complete: bool
    bound: float


@dataclass(slots=True)
class _Entries:
    """Partial assignments: index of the frontier's assignment, and terms [entries, terms]."""

    states: Integers
    terms: Floats


def close_gap(
    chain: Chain,
    limits: Floats,
    multipliers: Floats,
    best: float,
    *,
    most: int,
    slack: float,
) -> Closing:
    """The least sensitivity below `best` within the limits.

    Args:
        chain: The sum; its first term is sensitivity, the others are costs.
        limits: Largest sum of each cost [costs].
        multipliers: Of the Lagrangian bound [costs]; the nearer to the dual optimum, the faster.
        best: Sensitivity that is known to be reachable.
        most: Partial assignments kept at most; beyond that the ones with the best bounds.
        slack: Differences of sensitivity below this do not count.
    """
    bounds = chain.remaining(np.concatenate([[1.0], multipliers]))
    offset = float(multipliers @ limits)
    cheapest = [
        chain.remaining(row) for row in np.eye(chain.terms)[1:]
    ]  # per cost, per step: the least that is still to be paid
    entries = _Entries(np.zeros(1, dtype=np.int64), np.zeros((1, chain.terms)))
    trail: list[tuple[Integers, Integers]] = []
    complete = True
    lost = np.inf
    for position, step in enumerate(chain.steps, start=1):
        entries, parents, options = _extend(entries, step)
        states, terms = entries.states, entries.terms
        reach = terms[:, 0] + terms[:, 1:] @ multipliers + bounds[position][states] - offset
        alive = reach < best - slack
        for cost, rest in enumerate(cheapest):
            alive &= terms[:, 1 + cost] + rest[position][states] <= limits[cost]
        kept = np.flatnonzero(alive)
        kept = kept[_undominated(states[kept], terms[kept])]
        if len(kept) > most:
            order = np.argpartition(reach[kept], most)
            lost = min(lost, float(reach[kept[order[most:]]].min()))
            kept = kept[order[:most]]
            complete = False
        entries = _Entries(states[kept], terms[kept])
        trail.append((parents[kept], options[kept]))
    nothing = Closing(None, np.zeros(chain.terms), complete, min(lost, best))
    if not len(entries.states):
        return nothing
    winner = int(np.argmin(entries.terms[:, 0]))
    if entries.terms[winner, 0] >= best - slack:
        return nothing  # its bound was below the best known, the assignment itself is not
    return Closing(
        _trace(chain.steps, trail, winner), entries.terms[winner], complete, min(lost, best)
    )


def _extend(entries: _Entries, step: EliminationStep) -> tuple[_Entries, Integers, Integers]:
    """All entries with all options of the step's variable; parents and options of the new ones."""
    count, size = len(entries.states), len(step.after)
    gain = step.gain[:, :, entries.states].transpose(2, 1, 0).reshape(count * size, len(step.gain))
    terms = np.repeat(entries.terms, size, axis=0) + gain
    parents = np.repeat(np.arange(count), size)
    options = np.tile(np.arange(size), count)
    return _Entries(step.after[:, entries.states].T.ravel(), terms), parents, options


def _undominated(states: Integers, terms: Floats) -> Integers:
    """Indices of entries that no other with the same state equals or beats.

    With several costs only exact repetitions are found: keeping more is never wrong.
    """
    if not len(states):
        return np.zeros(0, dtype=np.int64)
    if terms.shape[1] != 2:
        _, first = np.unique(
            np.column_stack([states.astype(np.float64), terms]), axis=0, return_index=True
        )
        return np.sort(first)
    order = np.lexsort((terms[:, 0], terms[:, 1], states))
    # The running minimum of each state's sensitivity, as ranks: a later state starts below all
    # earlier.
    _, ranks = np.unique(terms[order, 0], return_inverse=True)
    shifted = ranks - states[order] * (len(ranks) + 1)
    lowest = np.minimum.accumulate(shifted)
    fresh: NDArray[np.bool_] = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = lowest[1:] < lowest[:-1]
    return order[fresh]


def _trace(
    steps: Sequence[EliminationStep], trail: Sequence[tuple[Integers, Integers]], winner: int
) -> Integers:
    assignment = np.zeros(len(steps), dtype=np.int64)
    entry = winner
    for step, (parents, options) in zip(reversed(steps), reversed(trail), strict=True):
        assignment[step.variable] = options[entry]
        entry = int(parents[entry])
    return assignment
