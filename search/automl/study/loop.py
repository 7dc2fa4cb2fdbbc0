"""The one loop of every search: ask, price, evaluate, store, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import inf, isnan

import numpy as np

from automl.cost import Cost
from automl.errors import StudyError
from automl.interrupts import raise_asked
from automl.policy import Policy
from automl.study.identity import Identity
from automl.study.problem import Agent, Completed, Failed, Infeasible, Problem, Trial
from automl.study.storage import Stored, TrialStore
from automl.study.workers import Evaluate, LocalPool, ScoringPool, Unscored
from automl.units import Quantity

#: Policies asked for at once: an agent that learns is told of them together.
BATCH = 8


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
        storage_url: "sqlite:///file" or a database address; None to store nothing.
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
    evaluate: Evaluate | ScoringPool,
    settings: StudySettings,
    on_trial: OnTrial | None = None,
    on_asking: Callable[[bool], None] = lambda _: None,
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
            it. Or a pool, which may score several policies at once.
        settings: Limits and storage.
        on_trial: Called with each finished trial and the best so far.
        on_asking: Called with whether the agent is asked now, or has answered.

    Raises:
        StudyError: The storage holds another study or cannot be used, `fail_limit` trials in a row
            failed, or the agent does not propose again what is stored.
    """
    interrupted = False
    full_scores = settings.full_scores or agent.full_scores
    with _opened(problem, settings) as store:
        stored = store.claim(_identity(problem, settings), settings.resume) if store else []
        pool = evaluate if isinstance(evaluate, ScoringPool) else LocalPool(evaluate)
        loop = _Loop(problem, pool, store, stored, settings, full_scores, on_trial)
        try:
            while count := loop.wanted():
                on_asking(True)
                proposed = agent.ask(count)[:count]
                on_asking(False)
                if not proposed:
                    break
                agent.tell(loop.finish(proposed, count))
        except KeyboardInterrupt:
            interrupted = True
    quantity = front_quantity(problem)
    return StudyResult(
        tuple(loop.trials), loop.best, pareto_front(loop.trials, quantity), interrupted, agent.held
    )


def _opened(problem: Problem, settings: StudySettings) -> AbstractContextManager[TrialStore | None]:
    url = settings.storage_url
    return nullcontext() if url is None else TrialStore(url, settings.name, problem.space)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A proposed policy: its number in the study, its vector as bytes, and its price.

    Attributes:
        allowed: Whether it is within the budget.
    """

    number: int
    policy: Policy
    key: bytes
    cost: Cost
    allowed: bool


class _Loop:
    """A study while it runs."""

    def __init__(
        self,
        problem: Problem,
        pool: ScoringPool,
        store: TrialStore | None,
        stored: Sequence[Stored],
        settings: StudySettings,
        full_scores: bool,
        on_trial: OnTrial | None,
    ) -> None:
        self.trials: list[Trial] = []
        self.best: Completed | None = None
        self._problem = problem
        self._pool = pool
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
        #: Tickets in the pool by candidate, and the first number that has not been started.
        self._underway: dict[bytes, int] = {}
        self._started = 0
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
        batch = batch_size(self._pool.workers)
        return batch if self._most is None else min(batch, self._most - number)

    def finish(self, proposed: Sequence[Policy], asked: int) -> list[Trial]:
        """The trials of what was proposed, up to the deadline."""
        candidates = self._priced(proposed)
        finished: list[Trial] = []
        try:
            for candidate in candidates:
                if self._late():
                    break
                # Their numbers say what they are raced against, in a study that is resumed too.
                for later in candidates[: len(finished) + look_ahead(self._pool.workers)]:
                    self._start(later)
                trial = self._next(candidate, asked)
                finished.append(trial)
                self._keep(trial, candidate.key)
                raise_asked()
        finally:
            self._pool.drop()
            self._underway.clear()
        return finished

    def _priced(self, proposed: Sequence[Policy]) -> list[_Candidate]:
        vectors = np.stack([self._problem.space.encode(policy) for policy in proposed])
        prices = self._problem.costs.price(vectors)
        costs = map(Cost.from_row, prices.tolist())
        keys = [vector.tobytes() for vector in vectors]
        numbers = range(len(self.trials), len(self.trials) + len(keys))
        allowed = self._problem.budget.allows_all(prices).tolist()
        rows = zip(numbers, proposed, keys, costs, allowed, strict=True)
        return [_Candidate(*row) for row in rows]

    def _late(self) -> bool:
        return len(self.trials) >= len(self._stored) and time.monotonic() >= self._deadline

    def _start(self, candidate: _Candidate) -> None:
        """Have a candidate scored that is new, raced against the best of now."""
        known = candidate.number < max(len(self._stored), self._started)
        if known or not candidate.allowed:
            return
        self._started = candidate.number + 1
        if candidate.key not in self._scores and candidate.key not in self._underway:
            self._underway[candidate.key] = self._ticket(candidate.policy)

    def _ticket(self, policy: Policy) -> int:
        incumbent = None if self._full_scores or self.best is None else self.best.policy
        return self._pool.start(policy, incumbent)

    def _next(self, candidate: _Candidate, asked: int) -> Trial:
        number = len(self.trials)
        if number < len(self._stored):
            return self._replayed(self._stored[number].trial, candidate.key)
        trial = self._finish(candidate)
        if self._store is not None:
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

    def _finish(self, candidate: _Candidate) -> Trial:
        """What came of a candidate, unless it is over budget or has a score already."""
        number, policy, cost = candidate.number, candidate.policy, candidate.cost
        if not candidate.allowed:
            return Infeasible(number, policy, cost, 0.0)
        if candidate.key in self._scores:
            return replace(self._scores[candidate.key], number=number, seconds=0.0)
        ticket = self._underway.pop(candidate.key, None)
        if ticket is None:  # proposed twice at once, and the first time it failed
            ticket = self._ticket(policy)
        answer = self._pool.answer(ticket)
        if isinstance(answer, Unscored):
            return Failed(number, policy, cost, answer.seconds, answer.reason)
        return Completed(number, policy, cost, answer.seconds, answer.score, answer.images)

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


def batch_size(workers: int) -> int:
    """How many policies are asked for at once: `BATCH`, made up so that no worker is left out."""
    return workers * -(-BATCH // workers)


def look_ahead(workers: int) -> int:
    """How many candidates are under way at once, the next to be finished among them.

    One worker knows of all trials before. Several have a few in hand, so that none waits for the
    slowest.
    """
    return 2 * workers - 1


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
