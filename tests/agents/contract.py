"""What every agent has to hold to. Inherit `AgentContract` and say how yours is made.

class TestMine(AgentContract):
    name = "mine"
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest

from automl.agents.base import make_agent
from automl.agents.solver import solve
from automl.cost import Budget, Cost, CostModel, Limit
from automl.cost_factors import COLUMNS, LATENCY, MACS, Lookup, join
from automl.policy import Policy
from automl.problem import Agent, Problem, Sensitivity, State, Trial
from automl.space import Space, Variable

Score = Callable[[Policy], float]


def made_problem(groups: int, seed: int = 0, share: float = 0.5, blocks: bool = True) -> Problem:
    """A chain of groups with a price on each neighbouring pair, every fourth in a block.

    Harm is additive and convex, prices jump by a third where a count is odd, the limit is a share
    of the dense latency. All figures are drawn.
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
        rows = np.zeros((price.size, COLUMNS))
        rows[:, LATENCY], rows[:, MACS] = 1e-4 * price.ravel(), price.ravel()
        strides = np.cumprod([1, *shape[:0:-1]])[::-1]
        steps = tuple(
            (variable, int(stride) * np.arange(size))
            for variable, stride, size in zip(scope, strides, shape, strict=True)
        )
        lookups.append(Lookup(steps, rows))
    costs = CostModel(space, join(lookups, space.sizes), 1e-5)
    harm = tuple(
        generator.lognormal() * (1.0 - np.arange(1, size + 1) / size) ** 1.7 for size in space.sizes
    )
    budget = Budget((Limit("latency", share * costs.dense.latency),))
    return Problem(space, costs, budget, Sensitivity(harm, images=1))


def harm_of(problem: Problem, policy: Policy) -> float:
    assert problem.sensitivity is not None
    vector = problem.space.encode(policy)
    pairs = zip(problem.sensitivity.harm, vector.tolist(), strict=True)
    return float(sum(harm[option] for harm, option in pairs))


def trial(
    problem: Problem, number: int, policy: Policy, score: float, state: State = "COMPLETE"
) -> Trial:
    cost: Cost = problem.costs.cost(policy)
    scored = score if state == "COMPLETE" else None
    return Trial(number, policy, cost, state, scored, 0.0, "drawn" if state == "FAILED" else "")


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
            score = -harm_of(problem, policy)
            told.append(trial(problem, number, policy, score, states(number)))
        agent.tell(told)
        done += told
    return done


def best(trials: list[Trial]) -> float:
    return max(trial.score for trial in trials if trial.score is not None)


class AgentContract:
    """Nine promises. `name` is the agent's; `options` go to its maker."""

    name: ClassVar[str]
    options: ClassVar[dict[str, object]] = {}
    trials: ClassVar[int] = 40
    beats_random: ClassVar[bool] = True

    def make(self, problem: Problem, seed: int = 0) -> Agent:
        return make_agent(self.name, problem, seed, **self.options)

    def made(self, groups: int, seed: int = 0, share: float = 0.5) -> Problem:
        """A problem that the agent can search, with so many parts; override where it needs bits."""
        return made_problem(groups, seed=seed, share=share)

    @pytest.mark.parametrize("share", [0.3, 0.7])
    def test_only_legal_choices_and_never_over_budget(self, share: float) -> None:
        problem = self.made(9, seed=1, share=share)
        assert run(self.make(problem), problem, self.trials)

    def test_the_same_seed_gives_the_same_policies(self) -> None:
        problem = self.made(9, seed=2)
        first = run(self.make(problem, 7), problem, self.trials)
        second = run(self.make(problem, 7), problem, self.trials)
        assert [trial.policy for trial in first] == [trial.policy for trial in second]

    @pytest.mark.parametrize("state", ["INFEASIBLE", "FAILED"])
    def test_trials_without_a_score_do_not_stop_it(self, state: State) -> None:
        problem = self.made(9, seed=3)

        def states(number: int) -> State:
            return state if number % 3 == 0 else "COMPLETE"

        assert run(self.make(problem), problem, self.trials, states)
        assert run(self.make(problem), problem, self.trials, lambda number: state)

    def test_it_pickles_in_the_middle_of_a_search(self) -> None:
        problem = self.made(9, seed=4)
        agent = self.make(problem)
        run(agent, problem, self.trials // 2)
        copy = pickle.loads(pickle.dumps(agent))
        rest = [trial.policy for trial in run(agent, problem, self.trials // 2)]
        assert [trial.policy for trial in run(copy, problem, self.trials // 2)] == rest

    def test_it_ends_when_the_space_is_exhausted(self) -> None:
        problem = self.made(2, seed=5)
        distinct = {
            problem.space.encode(trial.policy).tobytes()
            for trial in run(self.make(problem), problem, 2000)
        }
        assert 1 <= len(distinct) <= problem.space.size
        assert len(run(self.make(problem), problem, 2000)) < 2000

    def test_one_group_is_enough(self) -> None:
        problem = self.made(1, seed=6)
        assert run(self.make(problem), problem, self.trials)

    def test_two_hundred_groups_are_not_too_many(self) -> None:
        problem = self.made(200, seed=7)
        assert run(self.make(problem), problem, 4)

    def test_it_asks_for_no_more_than_it_was_asked_for(self) -> None:
        problem = self.made(9, seed=8)
        assert len(self.make(problem).ask(1)) == 1
        assert len(self.make(problem).ask(3)) <= 3

    def test_it_beats_random_at_equal_evaluations(self) -> None:
        if not self.beats_random:
            pytest.skip("a baseline that need not")
        reached, by_chance = [], []
        for seed in range(3):
            problem = self.made(16, seed=20 + seed)
            mine = run(self.make(problem, seed), problem, self.trials)
            rival = make_agent("random", problem, seed)
            assert problem.sensitivity is not None
            least = solve(problem.costs, problem.sensitivity.harm, problem.budget)
            assert least.proven
            assert best(mine) <= -least.harm + 1e-9
            reached.append(best(mine) + least.harm)
            by_chance.append(best(run(rival, problem, len(mine))) + least.harm)
        assert np.mean(reached) > np.mean(by_chance)
