"""The one loop of every search: ask, price, evaluate, store, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, isnan
from typing import Protocol, runtime_checkable

import numpy as np

from automl.cost import Cost
from automl.errors import Raised, StudyError, attempt
from automl.policy import Policy
from automl.study.identity import Identity
from automl.study.problem import Agent, Completed, Evaluation, Failed, Infeasible, Problem, Trial
from automl.study.storage import Stored, TrialStore
from automl.units import Quantity

#: Policies asked for at once: an agent that learns is told of them together.
BATCH = 8

Evaluate = Callable[[Policy], float]


@runtime_checkable
class StopsEarly(Protocol):
    """An evaluate that can give up a candidate which cannot any more beat the incumbent.

    What it answers must depend on the two policies alone, not on what it was asked before: a study
    that is resumed asks it less.
    """

    def evaluate_against(self, policy: Policy, incumbent: Policy | None) -> Evaluation:
        """The score of a policy, below the incumbent's where it was given up."""
        ...


@dataclass(frozen=True, slots=True)
class StudyResult:
    """What a study found.

    Attributes:
        trials: All of them in order, resumed ones first.
        best: The highest score; at equal scores the cheapest. None where nothing was scored.
        front: Trials that no other beats in both score and cost, cheapest first.
        interrupted: Ctrl-C ended the study.
        held: Kinds of choices that the agent left dense.
    """

    trials: tuple[Trial, ...]
    best: Completed | None
    front: tuple[Completed, ...]
    interrupted: bool = False
    held: tuple[str, ...] = ()


OnTrial = Callable[[Trial, Completed | None], None]


@dataclass(frozen=True, slots=True)
class StudySettings:
    """How long a study goes on, where it is stored, and what is stored of it.

    Attributes:
        trials: Most trials in the study, stored ones among them; None for no limit.
        seconds: Most wall time of this run; None for no limit.
        storage_url: "sqlite:///file" or a database address; None for memory.
        name: Name of the study in the storage.
        agent_name, seed: Of the agent, stored with the study.
        resume: Whether to go on with a study that has trials.
        fail_limit: So many failures in a row end the study.
        full_scores: Give up no candidate early, also where the agent does not ask for that.
        score_name: What `evaluate` scores by and how, stored with the study.
        options: What the agent was told beside its seed, stored with the study.
        weights, data: Digests of what the scores are of, stored with the study.
        compression: By what candidates' weights are made, stored with the study.
    """

    trials: int | None = None
    seconds: float | None = None
    storage_url: str | None = None
    name: str = "search"
    agent_name: str = ""
    seed: int = 0
    resume: bool = False
    fail_limit: int = 10
    full_scores: bool = False
    score_name: str = ""
    options: str = ""
    weights: str = ""
    data: str = ""
    compression: str = ""


def run_study(
    problem: Problem,
    agent: Agent,
    evaluate: Evaluate,
    settings: StudySettings,
    on_trial: OnTrial | None = None,
) -> StudyResult:
    """Let the agent propose until it is finished or a limit is reached.

    Policies over budget are not scored. A policy that was scored before is not scored again. Stored
    trials are replayed: the agent is asked and told as it was, so that the end is that of an
    unbroken run.

    Args:
        problem: Space, prices and budget.
        agent: Built anew with the same seed when a study is resumed.
        evaluate: Score of a policy, larger is better; what it raises makes a `Failed` trial.
            One that `StopsEarly` is told the best policy so far, and may give up what cannot beat
            it.
        settings: Limits and storage.
        on_trial: Called with each finished trial and the best so far.

    Raises:
        StudyError: The storage holds another study or cannot be used, `fail_limit` trials in a row
            failed, or the agent does not propose again what is stored.
    """
    interrupted = False
    full_scores = settings.full_scores or agent.full_scores
    with TrialStore(settings.storage_url, settings.name, problem.space) as store:
        stored = store.claim(_identity(problem, settings), settings.resume)
        loop = _Loop(problem, evaluate, store, stored, settings, full_scores, on_trial)
        try:
            while count := loop.wanted():
                proposed = agent.ask(count)[:count]
                if not proposed:
                    break
                agent.tell(loop.finish(proposed, count))
        except KeyboardInterrupt:
            interrupted = True
    quantity = front_quantity(problem)
    return StudyResult(
        tuple(loop.trials), loop.best, pareto_front(loop.trials, quantity), interrupted, agent.held
    )


class _Loop:
    """A study while it runs."""

    def __init__(
        self,
        problem: Problem,
        evaluate: Evaluate,
        store: TrialStore,
        stored: Sequence[Stored],
        settings: StudySettings,
        full_scores: bool,
        on_trial: OnTrial | None,
    ) -> None:
        self.trials: list[Trial] = []
        self.best: Completed | None = None
        self._problem = problem
        self._evaluate = evaluate
        self._store = store
        self._stored = stored
        self._fail_limit = settings.fail_limit
        self._full_scores = full_scores
        self._on_trial = on_trial
        seconds, trials = settings.seconds, settings.trials
        self._deadline = inf if seconds is None else time.monotonic() + seconds
        self._most = None if trials is None else max(trials, len(stored))
        self._quantity: Quantity = front_quantity(problem)
        self._scores: dict[bytes, Completed] = {}
        self._failures: list[str] = []

    def wanted(self) -> int:
        """How many policies to ask for; 0 at the end of the study.

        As many as when the next stored trial was asked for.
        """
        number = len(self.trials)
        if number < len(self._stored):
            return self._stored[number].asked
        if self._late():
            return 0
        return BATCH if self._most is None else min(BATCH, self._most - number)

    def finish(self, proposed: Sequence[Policy], asked: int) -> list[Trial]:
        """The trials of what was proposed, up to the deadline."""
        vectors = np.stack([self._problem.space.encode(policy) for policy in proposed])
        costs = [Cost.from_row(row) for row in self._problem.costs.price(vectors).tolist()]
        finished: list[Trial] = []
        for policy, vector, cost in zip(proposed, vectors, costs, strict=True):
            if self._late():
                break
            trial = self._next(policy, vector.tobytes(), cost, asked)
            finished.append(trial)
            self._keep(trial, vector.tobytes())
        return finished

    def _late(self) -> bool:
        return len(self.trials) >= len(self._stored) and time.monotonic() >= self._deadline

    def _next(self, policy: Policy, key: bytes, cost: Cost, asked: int) -> Trial:
        number = len(self.trials)
        if number < len(self._stored):
            return self._replayed(self._stored[number].trial, key)
        trial = self._finish(number, policy, key, cost)
        self._store.add(trial, asked)
        self._count_failure(trial)
        return trial

    def _replayed(self, trial: Trial, key: bytes) -> Trial:
        if self._problem.space.encode(trial.policy).tobytes() != key:
            raise StudyError(
                f"trial {trial.number} of the stored study is not what the agent proposes now; "
                "it was stored by another version; another folder or storage starts anew",
                options=("out",),
            )
        return trial

    def _finish(self, number: int, policy: Policy, key: bytes, cost: Cost) -> Trial:
        """Score one policy, unless it is over budget or has a score already."""
        if not self._problem.budget.allows(cost):
            return Infeasible(number, policy, cost, 0.0)
        if key in self._scores:
            return replace(self._scores[key], number=number, seconds=0.0)
        start = time.monotonic()
        scored = attempt(lambda: self._score(policy))
        seconds = time.monotonic() - start
        if isinstance(scored, Raised):
            return Failed(number, policy, cost, seconds, str(scored))
        score, images = scored
        if not isfinite(score):
            return Failed(number, policy, cost, seconds, f"the score is {score}")
        return Completed(number, policy, cost, seconds, score, images)

    def _score(self, policy: Policy) -> tuple[float, int | None]:
        """The score and, where it is known, on how many images."""
        if not isinstance(self._evaluate, StopsEarly):
            return float(self._evaluate(policy)), None
        incumbent = None if self._full_scores or self.best is None else self.best.policy
        scored = self._evaluate.evaluate_against(policy, incumbent)
        return scored.score, scored.images

    def _count_failure(self, trial: Trial) -> None:
        if isinstance(trial, Failed):
            self._failures.append(trial.reason)
        elif isinstance(trial, Completed):
            self._failures.clear()
        if len(self._failures) >= self._fail_limit:
            raise StudyError(
                f"{len(self._failures)} trials in a row failed; the first: {self._failures[0]}"
            )

    def _keep(self, trial: Trial, key: bytes) -> None:
        self.trials.append(trial)
        if isinstance(trial, Completed):
            self._scores.setdefault(key, trial)
            if self.best is None or self._rank(trial) > self._rank(self.best):
                self.best = trial
        if self._on_trial is not None:
            self._on_trial(trial, self.best)

    def _rank(self, trial: Completed) -> tuple[float, float]:
        return trial.score, -trial.cost.value(self._quantity)


def front_quantity(problem: Problem) -> Quantity:
    """What a front trades against the score: latency, or the first limit where none is priced."""
    if not isnan(problem.costs.dense.latency):
        return "latency"
    return problem.budget.limits[0].quantity if problem.budget.limits else "macs"


def pareto_front(trials: Sequence[Trial], quantity: Quantity) -> tuple[Completed, ...]:
    """Scored trials that no other beats in both score and cost, cheapest first, each point once."""
    scored = [
        (trial.cost.value(quantity), -trial.score, trial.number, trial)
        for trial in trials
        if isinstance(trial, Completed)
    ]
    front: list[Completed] = []
    best = inf
    for _, negative, _, trial in sorted(scored, key=lambda row: row[:3]):
        if negative < best:
            best = negative
            front.append(trial)
    return tuple(front)


def _identity(problem: Problem, settings: StudySettings) -> Identity:
    limits = [f"{limit.quantity} {limit.value:.6g}" for limit in problem.budget.limits]
    return Identity(
        weights=settings.weights,
        data=settings.data,
        agent=settings.agent_name,
        seed=settings.seed,
        budget=" and ".join(limits),
        space=problem.space.digest,
        prices=problem.costs.digest,
        score=settings.score_name,
        compression=settings.compression,
        options=settings.options,
    )
