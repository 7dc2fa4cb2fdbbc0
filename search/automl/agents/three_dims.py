"""Depth, width and resolution weighed against each other.

Wang et al., "Accelerate CNNs from Three Dimensions: A Comprehensive Pruning Framework", ICML 2021:
accuracy as a polynomial of the three, its optimum under a cost limit by Lagrange multipliers. There
is no public code.

What differs:

- The cost is the problem's own, priced at every mix of the three, and not d * w^2 * r^2. The
  elasticities are those of a smooth surface through these prices. Where the optimum lies inside,
  (x dF/dx) / elasticity is the same in each dimension, as in the paper. Each limit has a
  multiplier.
- Samples are mixes within the budget, most of them at its edge. The paper prunes along one
  dimension at a time and trains.
- The polynomial is a sum of two products of quadratics.
- The optimum is brought to a mix that truly is within the budget. Room that is left goes to the
  thinnest channel groups. Its score is learned, and the fit is made again until nothing new comes.
- With a warm start the first sample is the allowed mix nearest to the depth, the mean width and the
  resolution of the optimum of additive sensitivity.
- Bits and all other kinds of choices stay dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from automl.errors import InfeasibleError, SpaceError
from automl.policy import Policy
from automl.solver import Floats, LogCost, LowRank, fit_log_cost, fit_low_rank, solve
from automl.space import Space, Vectors, channel_counts
from automl.study import Agent, Completed, Problem, Trial
from automl.units import QUANTITIES

#: Ratios that widths are taken from, and how many different ones are used at most.
RATIOS: Final = np.arange(1, 201) / 200
WIDTHS: Final = 48
#: Samples per dimension, and the share of them at the budget's edge.
SAMPLES: Final = 4
EDGE: Final = 0.75
#: Optima proposed at most, each from a fit that knows those before.
OPTIMA: Final = 8
RANK: Final = 2
DEGREE: Final = 2
#: Mixes nearest to the optimum among which the polynomial chooses.
_NEAR: Final = 12
_STARTS: Final = 5


@dataclass(frozen=True, slots=True)
class Mixes:
    """Every mix of a depth, one width ratio for all groups, and a resolution.

    Attributes:
        vectors: [mixes, variables].
        points: [mixes, open dimensions]: share of blocks kept, mean share of channels kept,
            resolution relative to the dense one.
        costs: Of the limited quantities [mixes, limits].
        allowed: Within the budget [mixes].
        edge: Allowed, but with one step more of any dimension not [mixes].
    """

    vectors: Vectors
    points: Floats
    costs: Floats
    allowed: NDArray[np.bool_]
    edge: NDArray[np.bool_]


class ThreeDimsAgent(Agent):
    """Three dimensions (Wang et al., 2021): the best mix of depth, width and resolution.

    Args:
        problem: What to search. Blocks go in the order of their sensitivity, where that was
            measured, else from the last one on.
        seed: Of the samples and of the fits' starts.
        warm_start: Sample the mix nearest to the optimum of additive sensitivity first, where the
            problem has a sensitivity.

    Raises:
        SpaceError: If fewer than two of the dimensions are open.
        InfeasibleError: If no mix meets the budget.
    """

    def __init__(self, problem: Problem, seed: int = 0, *, warm_start: bool = True) -> None:
        _check(problem.space)
        self._problem = problem
        self.held = problem.space.kinds_but("block", "channels", "resolution")
        self._generator = np.random.default_rng(seed)
        self.mixes = _mixes(problem)
        if not self.mixes.allowed.any():
            raise _infeasible(problem, self.mixes)
        self.log_costs = tuple(
            fit_log_cost(self.mixes.points, column) for column in self.mixes.costs.T
        )
        first = _nearest_to_optimum(problem, self.mixes) if warm_start else None
        self._waiting = _samples(self.mixes, self._generator, first)
        self._optima = 0
        self._asked: set[bytes] = set()
        self._points: list[Floats] = []
        self._scores: list[float] = []

    def ask(self, count: int) -> list[Policy]:
        """The samples, then one optimum at a time; none when the fit leads to nothing new."""
        vectors, self._waiting = self._waiting[:count], self._waiting[count:]
        if not vectors and count and self._optima < OPTIMA and self._scores:
            self._optima += 1
            optima = (self._raised(self.mixes.vectors[mix]) for mix in self._near_optimum())
            vectors = list(islice((each for each in optima if self._is_new(each)), 1))
        self._asked |= {self._problem.space.canonical(vector).tobytes() for vector in vectors}
        return [self._problem.space.decode(self._problem.space.canonical(each)) for each in vectors]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Keep the scores and where they were reached; what has no score is left out."""
        for trial in trials:
            if isinstance(trial, Completed):
                vector = self._problem.space.encode(trial.policy)
                self._points.append(_points(self._problem.space, vector[None])[0])
                self._scores.append(trial.score)

    def accuracy(self) -> LowRank:
        """The polynomial through the scores so far."""
        points, scores = np.stack(self._points), np.array(self._scores)
        generator = np.random.default_rng(len(scores))
        return fit_low_rank(points, scores, generator, rank=RANK, degree=DEGREE)

    def _is_new(self, vector: Vectors) -> bool:
        return self._problem.space.canonical(vector).tobytes() not in self._asked

    def _near_optimum(self) -> list[int]:
        """The allowed mixes about the optimum of the polynomial, the best by it first."""
        surface, mixes = self.accuracy(), self.mixes
        limits = np.array([limit.value for limit in self._problem.budget.limits])
        allowed = np.flatnonzero(mixes.allowed)
        predicted = surface(mixes.points[allowed])
        starts = mixes.points[allowed[np.argsort(-predicted, kind="stable")[:_STARTS]]]
        point = constrained_optimum(surface, self.log_costs, limits, starts, mixes.points.min(0))
        apart = np.square(mixes.points[allowed] - point).sum(axis=1)
        near = np.argsort(apart, kind="stable")[:_NEAR]
        mixes_near: list[int] = allowed[near[np.argsort(-predicted[near], kind="stable")]].tolist()
        return mixes_near

    def _raised(self, vector: Vectors) -> Vectors:
        """One more option for the thinnest channel group that can have it, again and again."""
        problem, space = self._problem, self._problem.space
        gone = {inner for gate, inners in space.nested if vector[gate] == 0 for inner in inners}
        groups = np.array([each for each in space.of_kind("channels") if each not in gone])
        while len(groups):
            more = np.tile(vector, (len(groups), 1))
            more[np.arange(len(groups)), groups] += 1
            fits = more[np.arange(len(groups)), groups] < np.array(space.sizes)[groups]
            fits[fits] = problem.budget.allows_all(problem.costs.price(more[fits]))
            groups = groups[fits]
            if len(groups):
                shares = [_shares(space, variable)[vector[variable]] for variable in groups]
                vector = more[fits][int(np.argmin(shares))]
        return vector


def constrained_optimum(
    surface: LowRank,
    log_costs: Sequence[LogCost],
    limits: Floats,
    starts: Floats,
    least: Floats,
) -> Floats:
    """The point [dimensions] of highest accuracy within the limits on the smooth costs.

    Sequential quadratic programming with a multiplier a limit: at its end the gradient of the
    accuracy is the multipliers' sum of the gradients of the costs, but where a dimension is at
    `least` or 1.

    Args:
        surface: Accuracy.
        log_costs: One a limit.
        limits: [limits].
        starts: [starts, dimensions].
        least: Smallest value of each dimension.
    """
    spread = surface.spread
    constraints = [
        {
            "type": "ineq",
            "fun": lambda x, cost=cost, limit=limit: float(np.log(limit) - cost(x[None])[0]),
            "jac": lambda x, cost=cost: -cost.gradient(x),
        }
        for cost, limit in zip(log_costs, limits, strict=True)
    ]
    best: Floats = starts[0]
    highest = -np.inf
    for start in starts:
        found = minimize(
            lambda x: -float(surface(x[None])[0]) / spread,
            start,
            jac=lambda x: -surface.gradient(x) / spread,
            bounds=[(low, 1.0) for low in least],
            constraints=constraints,
            method="SLSQP",
        )
        value = float(surface(found.x[None])[0])
        if found.success and value > highest:
            best, highest = found.x, value
    return best


def _check(space: Space) -> None:
    dimensions = {"block": "removable blocks", "channels": "channel groups"}
    dimensions["resolution"] = "resolutions"
    missing = {kind: words for kind, words in dimensions.items() if kind not in space.kinds}
    if len(missing) > 1:
        raise SpaceError(
            "three-dims weighs depth, width and resolution against each other, and this space has "
            f"no {' and no '.join(missing.values())}",
            lacks=missing,
        )


def _mixes(problem: Problem) -> Mixes:
    space = problem.space
    parts = (_depths(problem), _widths(space), _resolutions(space))
    # Each part lowers its own variables from the dense vector.
    rows = [np.minimum.reduce(mix) for mix in product(*parts)]
    vectors: Vectors = np.stack(rows)
    priced = problem.costs.price(vectors)
    columns = [QUANTITIES.index(limit.quantity) for limit in problem.budget.limits]
    allowed = problem.budget.allows_all(priced)
    edge = _edge(allowed.reshape([len(part) for part in parts])).ravel()
    return Mixes(vectors, _points(space, vectors), priced[:, columns], allowed, edge)


def _edge(allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where `allowed` [depths, widths, resolutions], each ascending, ends in every dimension."""
    ends = allowed.copy()
    for axis in range(allowed.ndim):
        following = np.roll(allowed, -1, axis)
        np.moveaxis(following, axis, 0)[-1] = False
        ends &= ~following
    return ends


def _depths(problem: Problem) -> list[Vectors]:
    """The dense vector without all, ... one, none of the blocks."""
    blocks = list(problem.space.of_kind("block"))[::-1]
    if problem.sensitivity is not None:
        sensitivity = problem.sensitivity.single
        blocks.sort(key=lambda block: float(sensitivity[block][0]))
    vectors = [problem.space.dense]
    for block in blocks:
        fewer = vectors[-1].copy()
        fewer[block] = 0
        vectors.append(fewer)
    return vectors[::-1]


def _widths(space: Space) -> list[Vectors]:
    """The dense vector with every group at the option nearest to a ratio."""
    vectors = np.tile(space.dense, (len(RATIOS), 1))
    for variable in space.of_kind("channels"):
        shares = _shares(space, variable)
        vectors[:, variable] = np.abs(shares[None] - RATIOS[:, None]).argmin(axis=1)
    different = np.unique(vectors, axis=0)
    chosen = np.unique(np.linspace(0, len(different) - 1, WIDTHS).round().astype(np.int64))
    return list(different[chosen])


def _resolutions(space: Space) -> list[Vectors]:
    vectors = [space.dense]
    for variable in space.of_kind("resolution"):
        vectors = list(np.tile(space.dense, (space.sizes[variable], 1)))
        for option, vector in enumerate(vectors):
            vector[variable] = option
    return vectors


def _shares(space: Space, variable: int) -> Floats:
    """Kept channels of a group's options relative to all."""
    counts: Floats = np.array(channel_counts(space.variables[variable]), dtype=np.float64)
    shares: Floats = counts / counts[-1]
    return shares


def _points(space: Space, vectors: Vectors) -> Floats:
    """Where vectors [policies, variables] lie, in the open dimensions."""
    columns: list[Floats] = []
    blocks, groups = list(space.of_kind("block")), list(space.of_kind("channels"))
    if blocks:
        columns.append(vectors[:, blocks].mean(axis=1))
    if groups:
        gates = space.blocks_around
        shares = np.column_stack([_shares(space, each)[vectors[:, each]] for each in groups])
        there = np.column_stack(
            [vectors[:, gates[each]] if each in gates else np.ones(len(vectors)) for each in groups]
        )
        # Groups that went with their block have no width.
        kept: Floats = there.astype(np.float64)
        columns.append((shares * kept).sum(axis=1) / np.maximum(kept.sum(axis=1), 1.0))
    for variable in space.of_kind("resolution"):
        sizes = np.array(space.variables[variable].options, dtype=np.float64)
        columns.append((sizes / sizes[-1])[vectors[:, variable]])
    return np.column_stack(columns)


def _nearest_to_optimum(problem: Problem, mixes: Mixes) -> int | None:
    """The allowed mix nearest to the optimum of additive sensitivity, where it was measured."""
    if problem.sensitivity is None:
        return None
    known = problem.sensitivity
    optimum = solve(problem.costs, known.single, problem.budget, pairwise=known.pairwise).vector
    allowed = np.flatnonzero(mixes.allowed)
    apart = np.square(mixes.points[allowed] - _points(problem.space, optimum[None])).sum(axis=1)
    return int(allowed[np.argmin(apart)])


def _samples(mixes: Mixes, generator: np.random.Generator, first: int | None) -> list[Vectors]:
    """Mixes far from each other: most of the largest that are allowed, some of all allowed."""
    allowed = np.flatnonzero(mixes.allowed)
    edge = np.flatnonzero(mixes.edge)
    count = SAMPLES * mixes.points.shape[1]
    chosen: list[int] = [int(generator.choice(edge)) if first is None else first]
    for candidates, most in ((edge, round(EDGE * count)), (allowed, count)):
        while len(chosen) < most:
            apart = mixes.points[candidates][:, None] - mixes.points[chosen][None]
            distance = np.square(apart).sum(axis=2).min(axis=1)
            if distance.max() <= 0.0:
                break
            chosen.append(int(candidates[np.argmax(distance)]))
    return [mixes.vectors[each] for each in chosen]


def _infeasible(problem: Problem, mixes: Mixes) -> InfeasibleError:
    names = [limit.quantity for limit in problem.budget.limits]
    return InfeasibleError(
        problem.budget,
        dict(zip(names, mixes.costs.min(axis=0).tolist(), strict=True)),
        subject="mix of depth, one width ratio and resolution",
        advice="an agent with a width per group may reach it",
        options=("agent",),
    )
