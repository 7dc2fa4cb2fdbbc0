"""Our agents as searchers of Ray Tune, for people whose own trainable scores a policy.

    from ray import tune
    from automl.sweep import AgentSearcher

    def train(config):
        policy = problem.space.policy(config["policy"])
        tune.report({"score": score(policy)})

    searcher = AgentSearcher(problem, "amc", metric="score", mode="max", trials=100)
    config = tune.TuneConfig(search_alg=searcher, num_samples=-1, max_concurrent_trials=8)
    tune.Tuner(train, tune_config=config).fit()

With num_samples=-1 the searcher ends the experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, Final

import numpy as np
from ray import cloudpickle
from ray.tune.search import Searcher as TuneSearcher
from ray.tune.search.variant_generator import parse_spec_vars

from automl.agents import AGENTS, default_trials, make_agent
from automl.cost import Cost
from automl.errors import Raised, StudyError, UsageError, attempt
from automl.options import SearchOptions, make_values
from automl.policy import Policy
from automl.study import Completed, Failed, Infeasible, Problem, Trial, batch_size

#: Where a trial's configuration holds its policy, as `Space.parameters` writes it.
POLICY: Final = "policy"
#: Options of a search that this one has too.
_OPTIONS: Final = ("agent", "seed", "trials", "warm_start")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A proposed policy: its number in the study, its price, and its vector as bytes."""

    number: int
    policy: Policy
    cost: Cost
    key: bytes


class AgentSearcher(TuneSearcher):  # type: ignore[misc]  # Ray is not followed
    """Proposes policies to a trainable under "policy", and tells an agent what they scored.

    It asks and tells as `automl.search_problem` does: policies in batches of eight, made up to a
    multiple of `max_concurrent_trials`, told together in the order of the asks. So the same seed,
    scores and number of trials at a time give the same trials, whichever ends first. What is over
    the budget, or was scored before, becomes no trial of Tune's. A trial counts by its last report;
    one that raises, or reports no number, has failed. With the experiment it is saved and restored.

    Args:
        problem: From `automl.prepare`, or your own.
        agent, seed, trials, warm_start: As for `automl.search_problem`.
        metric: What the trainable reports of a policy; by default TuneConfig's, which Tune hands
            over where there is a `param_space` alone.
        mode: "max" or "min"; the agent is told what should shrink negated.

    Raises:
        UsageError: No such agent, an option or a mode that cannot be, or several metrics.
        SpaceError: The agent cannot search this problem; names those that can.
    """

    def __init__(
        self,
        problem: Problem,
        agent: str = "lagrangian",
        seed: int = 0,
        *,
        trials: int | None = None,
        warm_start: bool = True,
        metric: str | None = None,
        mode: str | None = None,
    ) -> None:
        options = {"agent": agent, "seed": seed, "trials": trials, "warm_start": warm_start}
        make_values(SearchOptions, options, only=_OPTIONS)
        _check_aim(metric, mode)
        super().__init__(metric=metric, mode=mode)
        told = {"warm_start": warm_start} if AGENTS.takes(agent, "warm_start") else {}
        self._problem, self._of = problem, _identity(problem, agent, seed)
        self._agent = make_agent(agent, problem, seed, **told)
        self._most = default_trials(agent) if trials is None else trials
        self._asked_at_once = batch_size(1)
        self._trials: list[Trial] = []
        self._scores: dict[bytes, Completed] = {}
        #: Of the batch in hand: its policies, those that Tune has by its trials' names, and what
        #: came of the others by their numbers.
        self._batch: list[_Candidate] = []
        self._running: dict[str, _Candidate] = {}
        self._finished: dict[int, Trial] = {}

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All that the agent was told, in order; scores as it was told them: larger is better."""
        return tuple(self._trials)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """Take what Tune was told to search by.

        Raises:
            UsageError: It is not what this searcher was told, or `param_space` leaves something
                open: policies alone are proposed here.
        """
        _check_aim(metric, mode)
        for name, ours, theirs in (("metric", self.metric, metric), ("mode", self.mode, mode)):
            if ours is not None and theirs is not None and ours != theirs:
                raise UsageError(
                    f"the {name} is {theirs!r} in TuneConfig, {ours!r} in the searcher"
                )
        _, draws, grids = parse_spec_vars(dict(config))
        for path, _ in (*draws, *grids):
            raise UsageError(
                f"param_space leaves {'/'.join(map(str, path))!r} open: "
                "AgentSearcher proposes policies alone"
            )
        if POLICY in config:
            raise UsageError(f"param_space has a {POLICY!r}: AgentSearcher proposes that")
        self._metric, self._mode = self.metric or metric, self.mode or mode
        return True

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Ask for enough at once to fill the places; Tune itself keeps the limit."""
        self._asked_at_once = batch_size(max_concurrent)
        return False

    def suggest(self, trial_id: str) -> Any:
        """A configuration; None while the batch waits for scores; "FINISHED" at the end.

        Raises:
            UsageError: It is not known what the trainable reports.
        """
        if self.metric is None or self.mode is None:
            lacking = "metric" if self.metric is None else "mode"
            raise UsageError(f"AgentSearcher needs a {lacking}, as metric='score', mode='max'")
        while (candidate := self._next()) is None:
            if self._running:
                return None
            if not self._ask():
                return self.FINISHED
        self._running[trial_id] = candidate
        return {POLICY: self._problem.space.parameters(candidate.policy)}

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take what came of a policy. A trial that Tune starts anew after it failed is not told."""
        candidate = self._running.pop(trial_id, None)
        if candidate is None:
            return
        trial = self._trial(candidate, result or {}, error)
        self._finished[trial.number] = trial
        if isinstance(trial, Completed):
            self._scores.setdefault(candidate.key, trial)
        self._next()

    def save(self, checkpoint_path: str) -> None:
        """Write all that it knows."""
        content = cloudpickle.dumps(self.__dict__)  # pyright: ignore[reportPrivateImportUsage]
        Path(checkpoint_path).write_bytes(content)

    def restore(self, checkpoint_path: str) -> None:
        """Go on from what was written, whose policies Tune starts again.

        Raises:
            StudyError: It is of another problem, agent or seed.
        """
        found = cloudpickle.loads(Path(checkpoint_path).read_bytes())
        for what, ours in self._of.items():
            if found["_of"][what] != ours:
                raise StudyError(
                    f"{checkpoint_path} is of another {what}: {found['_of'][what]}, here {ours}"
                )
        self.__dict__.update(found)

    def _next(self) -> _Candidate | None:
        """The first policy that Tune should score; tells the agent when there is no other."""
        under_way = {candidate.key for candidate in self._running.values()}
        for candidate in self._batch:
            if candidate.number in self._finished or candidate.key in under_way:
                continue
            known = self._known(candidate)
            if known is None:
                return candidate
            self._finished[candidate.number] = known
        if self._batch and len(self._finished) == len(self._batch):
            told = [self._finished[candidate.number] for candidate in self._batch]
            self._agent.tell(told)
            self._trials += told
            self._batch, self._finished = [], {}
        return None

    def _known(self, candidate: _Candidate) -> Trial | None:
        """What came of a policy that need not be scored."""
        if not self._problem.budget.allows(candidate.cost):
            return Infeasible(candidate.number, candidate.policy, candidate.cost, 0.0)
        scored = self._scores.get(candidate.key)
        return None if scored is None else replace(scored, number=candidate.number, seconds=0.0)

    def _ask(self) -> bool:
        """Have the agent propose a batch; whether it did."""
        count = self._asked_at_once
        if self._most is not None:
            count = min(count, self._most - len(self._trials))
        proposed = self._agent.ask(count)[:count] if count > 0 else []
        if not proposed:
            return False
        vectors = np.stack([self._problem.space.encode(policy) for policy in proposed])
        costs = map(Cost.from_row, self._problem.costs.price(vectors).tolist())
        keys = (vector.tobytes() for vector in vectors)
        numbers = range(len(self._trials), len(self._trials) + len(proposed))
        rows = zip(numbers, proposed, costs, keys, strict=True)
        self._batch = [_Candidate(*row) for row in rows]
        return True

    def _trial(self, candidate: _Candidate, result: Mapping[str, Any], error: bool) -> Trial:
        found = result.get(self.metric)
        score = attempt(lambda: float(found))  # type: ignore[arg-type]
        plain = (candidate.number, candidate.policy, candidate.cost)
        seconds = float(result.get("time_total_s", 0.0))
        if error:
            return Failed(*plain, seconds, "Tune's trial failed")
        if isinstance(score, Raised) or not isfinite(score):
            return Failed(*plain, seconds, f"the {self.metric} is {found}")
        return Completed(*plain, seconds, score if self.mode == "max" else -score)


def _identity(problem: Problem, agent: str, seed: int) -> dict[str, object]:
    """What a saved searcher is of."""
    limits = [f"{limit.quantity} {limit.value:.6g}" for limit in problem.budget.limits]
    return {
        "agent": agent,
        "seed": seed,
        "space": problem.space.digest,
        "prices": problem.costs.digest,
        "budget": " and ".join(limits),
    }


def _check_aim(metric: object, mode: object) -> None:
    if metric is not None and not isinstance(metric, str):
        raise UsageError(f"AgentSearcher searches by one metric, found {metric!r}")
    if mode not in (None, "min", "max"):
        raise UsageError(f"AgentSearcher: mode {mode!r}: expected 'min' or 'max'")
