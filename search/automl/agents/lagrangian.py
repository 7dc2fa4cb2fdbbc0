"""The default: exact optima of additive sensitivity, kinds weighed by what candidates scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from automl.errors import InfeasibleError, SpaceError
from automl.policy import Policy
from automl.solver import (
    AdditiveProblem,
    Floats,
    JointError,
    KindSums,
    Slopes,
    fill,
    fit_joint_error,
    solve,
)
from automl.space import Sensitivity, Vectors
from automl.study import Agent, Completed, Problem, Trial

#: Policies proposed at most.
PROPOSALS: Final = 24
#: Of those that are proposed before a score is known, at most.
MIXES: Final = 8
#: Policies between two fits.
ROUND: Final = 2
#: Rounds without a better score that end the search.
PATIENCE: Final = 2
#: So many policies that were scored before the study stand for its own mixes.
ENOUGH: Final = 4
#: A mix is not worth a score where its summed sensitivity is so many times the least.
HOPELESS: Final = 4.0
#: A kind is used as little as can be where its sensitivity is weighed by the first, as much as
#: can be by the second.
EXTREMES: Final = (16.0, 1.0 / 16.0)
#: By what a fitted kind is weighed to find policies nearby.
NEARBY: Final = (2.0, 0.5)
#: A policy is worth a score that is better than the best by so many standard deviations at most.
DOUBT: Final = 1.5
#: Mixes that weigh one end of the network heavier than the other.
TILTS: Final = ((0.5, 2.0), (2.0, 0.5))


class LagrangianAgent(Agent):
    """Least sensitivity within the budget, kinds weighed by what candidates scored.

    Shoham and Gersho, "Efficient bit allocation for an arbitrary set of quantizers", 1988.

    The sensitivity of each choice was measured when it was made alone, as in SPDY (Frantar and
    Alistarh, 2022, section 3), but on the network's logits and not layer by layer. Sums of it are
    fair among choices of one kind, and less so between kinds. So the first policies differ in how
    much of the budget each kind saves: the plain optimum, the best at each resolution, each kind
    used as much and as little as can be. Their scores say what a point of sensitivity of each kind
    costs (`JointError`), the problem is solved again with these weights, the answers are scored,
    and so on, until two rounds in a row brought nothing better or the fit promises nothing. A study
    of the same choices within a budget that was corrected has the fit of what was scored before,
    and scores one round. Where the dense network's score is known, the plain optimum is scored
    alone first, and a policy that scores no less than the dense network ends the search: there is
    nothing to win back, and what would be told apart further on is chance.

    For a given fit and resolution the solver's answer is the exact optimum wherever the solver is
    exact, and the best resolution is that of the least loss. That the fit is right is not proven.
    What is proposed is always within the budget, and no single choice could still be denser.

    Raises:
        SpaceError: If the problem comes without a sensitivity.
    """

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        if problem.sensitivity is None:
            raise SpaceError(
                "lagrangian needs the sensitivity of each choice, which this problem lacks",
                lacks=("sensitivity",),
            )
        self._problem = problem
        self._kinds = KindSums(problem.space, problem.sensitivity, _depths(problem))
        #: Mixes that were not proposed yet; None before they were solved.
        self._waiting: list[Vectors] | None = None
        #: All mixes, also those that seemed hopeless.
        self._mixed: list[Vectors] = []
        self._proposed: set[bytes] = set()
        self._known: list[tuple[Vectors, float, int]] = []
        #: The same of what was scored before the study; it may be over the budget.
        self._earlier = [
            (problem.space.encode(each.policy), -each.score, each.images or 0)
            for each in problem.known
        ]
        self._begun_fitted = len(self._earlier) >= ENOUGH
        self._fitted = False
        self._stale = 0

    def ask(self, count: int) -> list[Policy]:
        """Mixes of kinds first, then the optima of the fit; none when there are no more.

        Raises:
            InfeasibleError: If no policy meets the budget.
        """
        count = min(count, PROPOSALS - len(self._proposed))
        dense = self._problem.dense_score
        if dense is not None:
            if any(-loss >= dense for _, loss, _ in self._known):
                return []
            count = count if self._known else min(count, 1)
        if self._waiting is None:
            plain = self._kinds.weighed({})
            costs, budget = self._problem.costs, self._problem.budget
            found = solve(costs, plain.single, budget, pairwise=plain.pairwise)
            self._waiting = self._mixes(self._filled(found.vector, plain, {}))
            if self._begun_fitted:
                self._waiting = self._fitted_optima(ROUND) or self._waiting
        vectors, self._waiting = self._waiting[:count], self._waiting[count:]
        ended = self._begun_fitted or self._stale >= PATIENCE
        if not vectors and count and self._known and not ended:
            self._fitted = True
            vectors = self._fitted_optima(min(count, ROUND))
        self._proposed.update(vector.tobytes() for vector in vectors)
        return [self._problem.space.decode(vector) for vector in vectors]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Remember scores; a fit is made of them when policies are asked for."""
        before = min((loss for _, loss, _ in self._known), default=np.inf)
        for trial in trials:
            if isinstance(trial, Completed):
                vector = self._problem.space.encode(trial.policy)
                self._known.append((vector, -trial.score, trial.images or 0))
        if self._fitted:
            better = min((loss for _, loss, _ in self._known), default=np.inf) < before
            self._stale = 0 if better else self._stale + 1

    def _mixes(self, plain: Vectors) -> list[Vectors]:
        """The plain optimum, then those of other mixes of kinds, the least sensitivity first."""
        problem = self._problem
        kinds = problem.space.kinds_but("resolution")
        weighed = self._kinds.weighed
        found = [self._optimum(weighed({}), held) for held in _resolutions(problem)]
        if len(problem.space.kinds_but()) > 1:
            for factor in EXTREMES:
                found += [self._optimum(weighed({kind: (factor, factor)}), {}) for kind in kinds]
        found += [self._optimum(weighed(dict.fromkeys(kinds, tilt)), {}) for tilt in TILTS]
        distinct = {each.tobytes(): each for each in (plain, *found) if each is not None}
        self._mixed = list(distinct.values())
        totals = dict(zip(distinct, self._kinds.totals(np.stack(self._mixed)), strict=True))
        most = HOPELESS * totals[plain.tobytes()]
        promising = sorted((key for key in distinct if totals[key] <= most), key=totals.__getitem__)
        first = plain.tobytes()
        chosen = [first, *(key for key in promising if key != first)][:MIXES]
        # Those of one resolution in a row: what is known of the network at it is made once.
        sizes = {key: problem.space.decode(distinct[key]).resolution for key in chosen}
        order = list(dict.fromkeys(sizes.values()))
        return [distinct[key] for key in sorted(chosen, key=lambda key: order.index(sizes[key]))]

    def _optimum(self, sensitivity: Sensitivity, held: Mapping[int, int]) -> Vectors | None:
        """The policy of least sensitivity, filled up; None where what is held cannot be met."""
        costs, budget = self._problem.costs, self._problem.budget
        try:
            found = solve(costs, sensitivity.single, budget, held, sensitivity.pairwise)
        except InfeasibleError:
            return None
        return self._filled(found.vector, sensitivity, held)

    def _filled(
        self, vector: Vectors, sensitivity: Sensitivity, held: Mapping[int, int]
    ) -> Vectors:
        """A policy with what it leaves of the budget given to the choices that are not held."""
        allowed = tuple(
            np.array([held[variable]]) if variable in held else np.flatnonzero(np.isfinite(row))
            for variable, row in enumerate(sensitivity.single)
        )
        costs, budget = self._problem.costs, self._problem.budget
        problem = AdditiveProblem(costs, sensitivity.single, budget, allowed, sensitivity.pairwise)
        return fill(problem, vector)

    def _fitted_optima(self, count: int) -> list[Vectors]:
        """The policies of least predicted loss, as far as they may turn out to be better."""
        scored = [*self._known, *self._earlier]
        vectors = np.stack([vector for vector, _, _ in scored])
        losses = np.array([loss for _, loss, _ in scored])
        images = np.array([images for _, _, images in scored], dtype=np.float64)
        shares = images / images.max() if images.all() else None
        fit = fit_joint_error(self._kinds, vectors, losses, shares)
        best = vectors[int(losses[: len(self._known) or None].argmin())]
        reached = _predicted(fit, best) + fit.error if self._known else np.inf
        most = HOPELESS * self._kinds.totals(vectors).max()
        found: list[Vectors] = []
        for candidates in self._candidates(fit):
            known = self._proposed.union(vector.tobytes() for vector in found)
            fresh = {v.tobytes(): v for v in candidates if v.tobytes() not in known}
            if not fresh:
                continue
            rows = np.stack(list(fresh.values()))
            predicted = fit.predict(rows)
            worth = predicted - DOUBT * fit.doubt(rows, best) <= reached
            worth &= self._kinds.totals(rows) <= most
            order = np.argsort(predicted, kind="stable")
            found += list(rows[order[worth[order]]][: count - len(found)])
            if len(found) == count:
                break
        return found

    def _candidates(self, fit: JointError) -> Iterator[list[Vectors]]:
        """Optima of the fit at each resolution and all mixes, then what lies a little apart."""
        held = [dict(each) for each in _resolutions(self._problem)] or [{}]
        first = self._optima(fit, [({}, each) for each in held])
        yield [*(vector for _, vector in first), *self._mixed]
        best = [each for each, _ in sorted(first, key=lambda row: _predicted(fit, row[1]))][:2]
        kinds = self._problem.space.kinds_but("resolution")
        ends = [(factor, 1.0) for factor in NEARBY] + [(1.0, factor) for factor in NEARBY]
        apart = [({kind: each}, held) for held in best for kind in kinds for each in ends]
        yield [vector for _, vector in self._optima(fit, apart)]

    def _optima(
        self, fit: JointError, ways: Sequence[tuple[dict[str, Slopes], dict[int, int]]]
    ) -> list[tuple[dict[int, int], Vectors]]:
        """What was held and the optimum of each way that the budget allows."""
        solved = [(held, self._optimum(fit.sensitivity(factors), held)) for factors, held in ways]
        return [(held, vector) for held, vector in solved if vector is not None]


def _resolutions(problem: Problem) -> list[dict[int, int]]:
    """Every option of the resolution, the dense one first; none where it is not open."""
    return [
        {variable: option}
        for variable in problem.space.of_kind("resolution")
        for option in reversed(range(problem.space.sizes[variable]))
    ]


def _depths(problem: Problem) -> Floats:
    """Where each variable lies in the network, from 0 to 1."""
    places = [each.position for each in problem.geometry] or range(len(problem.space.variables))
    found: Floats = np.array(places, dtype=np.float64) / max(*places, 1)
    return found


def _predicted(fit: JointError, vector: Vectors) -> float:
    return float(fit.predict(vector[None])[0])
