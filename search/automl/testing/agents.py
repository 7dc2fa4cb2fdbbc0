"""What every agent has to hold to; see `automl.testing`. All figures of the problems are drawn."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Sequence
from typing import ClassVar
from unittest import SkipTest

import numpy as np

from automl.agents import make_agent
from automl.cost import COLUMNS, LATENCY, MACS, Budget, Cost, CostModel, Limit, join, lookup_of
from automl.errors import StudyError
from automl.policy import Policy
from automl.solver import solve
from automl.space import KINDS, Space, Variable
from automl.study import (
    Agent,
    Completed,
    Evaluate,
    Failed,
    Infeasible,
    LocalPool,
    Problem,
    Sensitivity,
    State,
    StudyResult,
    StudySettings,
    Trial,
    run_study,
)
from automl.testing.kinds import MADE_UP, MadeUpKind, with_made_up_kind

Score = Callable[[Policy], float]


def made_problem(groups: int, seed: int = 0, share: float = 0.5, blocks: bool = True) -> Problem:
    """A chain of groups with a price on each neighbouring pair, every fourth in a block.

    Sensitivity is additive and convex, prices jump by a third where a count is odd, the limit is a
    share of the dense latency. All figures are drawn.
    """
    generator = np.random.default_rng(seed)
    variables = [Variable("channels", f"g{i}", (1, 2, 3, 4)) for i in range(groups)]
    nested: list[tuple[int, tuple[int, ...]]] = []
    if blocks and groups > 3:
        for inner in range(3, groups, 4):
            nested.append((len(variables), (inner,)))
            variables.append(Variable("block", f"b{inner}", (0, 1)))
    space = Space(tuple(variables), tuple(nested))
    gates = {inner: gate for gate, (inner,) in nested}  # their groups are seen by no other
    lookups = []
    for index in range(groups):
        scope = [index, *([index - 1] if index and index - 1 not in gates else [])]
        if index in gates:
            scope.append(gates[index])
        shape = [space.sizes[variable] for variable in scope]
        counts = np.indices(shape)
        widths = counts[: len(scope) - (index in gates)] + 1.0
        price = generator.uniform(0.5, 2.0) * widths.prod(axis=0)
        price = price * np.where((counts[0] + 1) % 2, 1.34, 1.0) + 0.2
        if index in gates:
            price = price * counts[-1]
        table = np.zeros((*shape, COLUMNS))
        table[..., LATENCY], table[..., MACS] = 1e-4 * price, price
        lookups.append(lookup_of(tuple(scope), table))
    costs = CostModel(space, join(lookups, space.sizes), 1e-5)
    sensitivity = tuple(
        generator.lognormal() * (1.0 - np.arange(1, size + 1) / size) ** 1.7 for size in space.sizes
    )
    budget = Budget((Limit("latency", share * costs.dense.latency),))
    return Problem(space, costs, budget, Sensitivity(sensitivity, images=1))


def sensitivity_of(problem: Problem, policy: Policy) -> float:
    """The summed sensitivity of a policy's choices."""
    assert problem.sensitivity is not None
    vector = problem.space.encode(policy)
    pairs = zip(problem.sensitivity.single, vector.tolist(), strict=True)
    return float(sum(sensitivity[option] for sensitivity, option in pairs))


def trial(
    problem: Problem, number: int, policy: Policy, score: float, state: State = "COMPLETE"
) -> Trial:
    """A finished trial, its score kept where it is complete."""
    cost: Cost = problem.costs.cost(policy)
    if state == "COMPLETE":
        return Completed(number, policy, cost, 0.0, score)
    if state == "FAILED":
        return Failed(number, policy, cost, 0.0, "drawn")
    return Infeasible(number, policy, cost, 0.0)


def run(
    agent: Agent,
    problem: Problem,
    trials: int,
    states: Callable[[int], State] = lambda number: "COMPLETE",
    batch: int = 8,
) -> list[Trial]:
    """Ask and tell until the agent is finished; every proposal is legal and within the budget."""
    done: list[Trial] = []
    while len(done) < trials:
        asked = min(batch, trials - len(done))
        policies = agent.ask(asked)
        assert len(policies) <= asked
        if not policies:
            break
        told: list[Trial] = []
        for policy in policies:
            vector = problem.space.encode(policy)  # raises where a choice is not legal
            assert np.array_equal(problem.space.encode(problem.space.decode(vector)), vector)
            assert problem.budget.allows(problem.costs.cost(policy))
            number = len(done) + len(told)
            score = -sensitivity_of(problem, policy)
            told.append(trial(problem, number, policy, score, states(number)))
        agent.tell(told)
        done += told
    return done


def best(trials: list[Trial]) -> float:
    """The largest score."""
    return max(trial.score for trial in trials if isinstance(trial, Completed))


class AgentContract:
    """Fourteen promises. Inherit it, and override what differs.

    Attributes:
        name: The agent's, as it is asked for.
        options: For its maker.
        trials: So many are enough for it to beat random search.
        beats_random: Whether it claims to; a baseline need not.
    """

    name: ClassVar[str]
    options: ClassVar[dict[str, object]] = {}
    trials: ClassVar[int] = 40
    beats_random: ClassVar[bool] = True

    def make(self, problem: Problem, seed: int = 0) -> Agent:
        """The agent."""
        return make_agent(self.name, problem, seed, **self.options)

    def made(self, groups: int, seed: int = 0, share: float = 0.5) -> Problem:
        """A problem that the agent can search, with so many parts; override where it needs bits."""
        return made_problem(groups, seed=seed, share=share)

    def study(
        self,
        problem: Problem,
        evaluate: Evaluate | None = None,
        *,
        storage: str | None = None,
        resume: bool = False,
    ) -> StudyResult:
        """A study of the agent, scored by additive sensitivity where nothing else is said."""
        return run_study(
            problem,
            self.make(problem, 3),
            evaluate or (lambda policy: -sensitivity_of(problem, policy)),
            StudySettings(
                trials=min(self.trials, 24),
                storage_url=storage,
                agent_name=self.name,
                seed=3,
                resume=resume,
            ),
        )

    def test_only_legal_choices_and_never_over_budget(self) -> None:
        """Whether the budget is tight or wide."""
        for share in (0.3, 0.7):
            problem = self.made(9, seed=1, share=share)
            assert run(self.make(problem), problem, self.trials)

    def test_the_same_seed_gives_the_same_policies(self) -> None:
        """In the same order."""
        problem = self.made(9, seed=2)
        first = run(self.make(problem, 7), problem, self.trials)
        second = run(self.make(problem, 7), problem, self.trials)
        assert [trial.policy for trial in first] == [trial.policy for trial in second]

    def test_trials_without_a_score_do_not_stop_it(self) -> None:
        """Neither some nor all of them."""
        problem = self.made(9, seed=3)
        for state in _UNSCORED:
            mixed = run(self.make(problem), problem, self.trials, _every_third(state))
            assert mixed
            assert run(self.make(problem), problem, self.trials, _every(state))

    def test_it_pickles_in_the_middle_of_a_search(self) -> None:
        """And the copy goes on as the agent itself does."""
        problem = self.made(9, seed=4)
        agent = self.make(problem)
        run(agent, problem, self.trials // 2)
        copy = pickle.loads(pickle.dumps(agent))
        rest = [trial.policy for trial in run(agent, problem, self.trials // 2)]
        assert [trial.policy for trial in run(copy, problem, self.trials // 2)] == rest

    def test_a_broken_study_resumes_to_the_end_of_an_unbroken_one(self) -> None:
        """From its storage, asked and told as it was before."""
        problem = self.made(6, seed=9)
        unbroken = self.study(problem)
        scored = sum(isinstance(trial, Completed) for trial in unbroken.trials)
        with tempfile.TemporaryDirectory() as folder:
            storage = f"sqlite:///{folder}/study.db"
            broken = self.study(problem, _breaking(problem, scored // 3), storage=storage)
            assert broken.interrupted
            assert len(broken.trials) < len(unbroken.trials)
            resumed = self.study(problem, storage=storage, resume=True)
        assert not resumed.interrupted
        assert _told(resumed.trials) == _told(unbroken.trials)

    def test_several_workers_tell_it_in_the_order_of_its_asks(self) -> None:
        """So it proposes the same each time, and nothing over the budget."""
        problem = self.made(6, seed=14)

        def found() -> list[tuple[object, ...]]:
            pool = LocalPool(lambda policy: -sensitivity_of(problem, policy), workers=3)
            settings = StudySettings(trials=min(self.trials, 12), seed=3, fail_limit=1)
            result = run_study(problem, self.make(problem, 3), pool, settings)
            assert all(isinstance(trial, Completed) for trial in result.trials)
            return _told(result.trials)

        first = found()
        assert first
        assert found() == first

    def test_a_score_that_fails_is_kept_with_its_reason_and_the_search_goes_on(self) -> None:
        """A score that raises as well as one that is no number."""
        problem = self.made(9, seed=10)
        asked = [0]

        def evaluate(policy: Policy) -> float:
            asked[0] += 1
            if asked[0] % 4 == 2:
                raise ValueError("no such layer")
            return float("nan") if asked[0] % 4 == 3 else -sensitivity_of(problem, policy)

        trials = self.study(problem, evaluate).trials
        failed = [trial for trial in trials if isinstance(trial, Failed)]
        assert all("no such layer" in t.reason or "nan" in t.reason for t in failed)
        assert len(failed) == sum(number % 4 in (2, 3) for number in range(1, asked[0] + 1))

    def test_ten_failures_in_a_row_stop_the_search_with_the_first_reason(self) -> None:
        """Unless the agent is finished before."""
        problem = self.made(9, seed=11)
        asked = [0]

        def evaluate(policy: Policy) -> float:
            asked[0] += 1
            raise ValueError(f"failure {asked[0]}")

        reason = ""
        try:
            self.study(problem, evaluate)
        except StudyError as error:
            reason = str(error)
        stopped = "10 trials in a row failed; the first: ValueError: failure 1 " in reason
        assert stopped if asked[0] >= 10 else not reason

    def test_it_ends_when_the_space_is_exhausted(self) -> None:
        """Without proposing anything for ever."""
        problem = self.made(2, seed=5)
        distinct = {
            problem.space.encode(trial.policy).tobytes()
            for trial in run(self.make(problem), problem, 2000)
        }
        assert 1 <= len(distinct) <= problem.space.size
        assert len(run(self.make(problem), problem, 2000)) < 2000

    def test_one_group_is_enough(self) -> None:
        """The smallest space there is."""
        problem = self.made(1, seed=6)
        assert run(self.make(problem), problem, self.trials)

    def test_two_hundred_groups_are_not_too_many(self) -> None:
        """A large one."""
        problem = self.made(200, seed=7)
        assert run(self.make(problem), problem, 4)

    def test_it_asks_for_no_more_than_it_was_asked_for(self) -> None:
        """Fewer is fine."""
        problem = self.made(9, seed=8)
        assert len(self.make(problem).ask(1)) == 1
        assert len(self.make(problem).ask(3)) <= 3

    def test_what_it_does_not_choose_stays_dense_and_it_says_so(self) -> None:
        """A kind of choice that it has not heard of is searched, or held and named in `held`."""
        with KINDS.including(MADE_UP):
            problem = with_made_up_kind(self.made(9, seed=12))
            agent, again = self.make(problem, 7), self.make(problem, 7)
            policies = [each.policy for each in run(agent, problem, self.trials)]
            assert policies == [each.policy for each in run(again, problem, self.trials)]
            vectors = np.stack([problem.space.encode(policy) for policy in policies])
            moved = (vectors != problem.space.dense).any(axis=0)
            changed = {
                variable.kind
                for variable, each in zip(problem.space.variables, moved.tolist(), strict=True)
                if each
            }
            assert changed.isdisjoint(agent.held)
            assert MadeUpKind.name in changed or MadeUpKind.name in agent.held

    def test_it_beats_random_at_equal_evaluations(self) -> None:
        """In the mean over three problems whose optimum is known."""
        if not self.beats_random:
            raise SkipTest("a baseline that need not")
        reached, by_chance = [], []
        for seed in range(3):
            problem = self.made(16, seed=20 + seed)
            mine = run(self.make(problem, seed), problem, self.trials)
            rival = make_agent("random", problem, seed)
            assert problem.sensitivity is not None
            least = solve(problem.costs, problem.sensitivity.single, problem.budget)
            assert least.proven
            assert best(mine) <= -least.sensitivity + 1e-9
            reached.append(best(mine) + least.sensitivity)
            by_chance.append(best(run(rival, problem, len(mine))) + least.sensitivity)
        assert np.mean(reached) > np.mean(by_chance)


_UNSCORED: tuple[State, ...] = ("INFEASIBLE", "FAILED")


def _every(state: State) -> Callable[[int], State]:
    return lambda number: state


def _every_third(state: State) -> Callable[[int], State]:
    return lambda number: "COMPLETE" if number % 3 else state


def _breaking(problem: Problem, count: int) -> Evaluate:
    """Additive sensitivity, until it was asked for so many times."""
    left = iter(range(count))

    def evaluate(policy: Policy) -> float:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return -sensitivity_of(problem, policy)

    return evaluate


def _told(trials: Sequence[Trial]) -> list[tuple[object, ...]]:
    """All of trials but their times, and costs, which may be no number."""
    return [
        (
            trial.number,
            trial.policy,
            type(trial),
            trial.score if isinstance(trial, Completed) else None,
            trial.reason if isinstance(trial, Failed) else "",
        )
        for trial in trials
    ]
