import dataclasses
import math

import numpy as np
import pytest
from contract import AgentContract, best, made_problem, run, sensitivity_of, trial

from automl.agents.lagrangian import MIXES, PATIENCE, PROPOSALS, ROUND
from automl.agents.registry import make_agent
from automl.cost import Budget, CostModel, Limit
from automl.cost.factors import join, lookup_of
from automl.errors import InfeasibleError, SpaceError
from automl.policy import Policy
from automl.solver.exact import solve
from automl.solver.local_search import neighbours
from automl.space import KINDS, Sensitivity, Space, Variable
from automl.study.problem import Known, Problem, Trial
from automl.testing import MADE_UP, with_made_up_kind


class TestLagrangian(AgentContract):
    name = "lagrangian"


def test_the_first_proposal_is_the_optimum() -> None:
    problem = made_problem(20, seed=1)
    assert problem.sensitivity is not None
    (policy,) = make_agent("lagrangian", problem).ask(1)
    least = solve(problem.costs, problem.sensitivity.single, problem.budget)
    assert least.proven
    assert math.isclose(sensitivity_of(problem, policy), least.sensitivity)


def test_few_distinct_policies_of_which_the_first_is_best_where_sensitivity_adds_up() -> None:
    problem = made_problem(30, seed=2)
    trials = run(make_agent("lagrangian", problem), problem, 100)
    assert 2 <= len(trials) <= MIXES + PATIENCE * ROUND
    assert len({problem.space.encode(trial.policy).tobytes() for trial in trials}) == len(trials)
    assert best(trials[:1]) == best(trials)


def test_without_sensitivity_it_says_what_is_missing() -> None:
    problem = made_problem(3)
    with pytest.raises(SpaceError, match="needs the sensitivity"):
        make_agent("lagrangian", Problem(problem.space, problem.costs, problem.budget))


def test_a_budget_that_cannot_be_met_is_refused() -> None:
    problem = made_problem(3)
    budget = Budget((Limit("latency", 1e-9),))
    agent = make_agent(
        "lagrangian", Problem(problem.space, problem.costs, budget, problem.sensitivity)
    )
    with pytest.raises(InfeasibleError, match="the least is"):
        agent.ask(1)


def weighed(problem: Problem, block: float) -> Problem:
    """The same with the sensitivity of blocks by a factor."""
    assert problem.sensitivity is not None
    single = tuple(
        row * (block if variable.kind == "block" else 1.0)
        for row, variable in zip(problem.sensitivity.single, problem.space.variables, strict=True)
    )
    return dataclasses.replace(problem, sensitivity=Sensitivity(single, 1))


@pytest.mark.parametrize("block", [0.1, 8.0])
@pytest.mark.parametrize("seed", [3, 4])
def test_scores_tell_what_a_kind_costs(block: float, seed: int) -> None:
    """Measured alone, blocks seem to do as much as channels; together they do not."""
    problem = made_problem(32, seed=seed)
    truth = weighed(problem, block)
    assert truth.sensitivity is not None
    least = solve(problem.costs, truth.sensitivity.single, problem.budget).sensitivity
    agent, losses = make_agent("lagrangian", problem), list[float]()
    while policies := agent.ask(8):
        told = []
        for policy in policies:
            losses.append(sensitivity_of(truth, policy))
            told.append(trial(problem, len(losses) - 1, policy, -losses[-1]))
        agent.tell(told)
    assert len(losses) <= PROPOSALS
    assert losses[0] > 1.05 * least
    assert min(losses) <= least + 0.1 * (losses[0] - least)


def losses_of(problem: Problem, truth: Problem) -> list[tuple[Policy, float]]:
    """What the agent proposes, and what that does in truth."""
    agent, found = make_agent("lagrangian", problem), list[tuple[Policy, float]]()
    while policies := agent.ask(8):
        losses = [(policy, sensitivity_of(truth, policy)) for policy in policies]
        agent.tell([trial(problem, len(found), *each) for each in negated(losses)])
        found += losses
    return found


def negated(losses: list[tuple[Policy, float]]) -> list[tuple[Policy, float]]:
    return [(policy, -loss) for policy, loss in losses]


@pytest.mark.parametrize("share", [0.9, 1.1])
@pytest.mark.parametrize("block", [0.1, 8.0])
def test_scores_for_another_budget_need_not_be_found_again(block: float, share: float) -> None:
    problem = made_problem(32, seed=3)
    before = losses_of(problem, weighed(problem, block))
    limits = tuple(
        dataclasses.replace(one, value=share * one.value) for one in problem.budget.limits
    )
    corrected = dataclasses.replace(problem, budget=Budget(limits))
    truth = weighed(corrected, block)
    anew = losses_of(corrected, truth)
    scores = [Known(policy, score) for policy, score in negated(before)]
    told = losses_of(dataclasses.replace(corrected, known=tuple(scores)), truth)
    assert len(told) == ROUND < len(anew)
    assert all(corrected.budget.allows(corrected.costs.cost(policy)) for policy, _ in told)
    assert min(loss for _, loss in told) <= 1.02 * min(loss for _, loss in anew)


def test_few_scores_for_another_budget_are_no_beginning() -> None:
    problem = made_problem(32, seed=3)
    before = losses_of(problem, weighed(problem, 8.0))
    scores = tuple(Known(policy, -loss) for policy, loss in before[:2])
    (first,) = make_agent("lagrangian", problem).ask(1)
    assert make_agent("lagrangian", dataclasses.replace(problem, known=scores)).ask(1) == [first]


def test_no_single_choice_of_a_proposal_could_be_denser() -> None:
    problem = made_problem(24, seed=5)
    for each in run(make_agent("lagrangian", problem), problem, PROPOSALS):
        vector = problem.space.encode(each.policy)
        allowed = tuple(np.arange(size) for size in problem.space.sizes)
        denser = [row for row in neighbours(vector, allowed) if (row >= vector).all()]
        denser = [row for row in denser if (problem.space.canonical(row) != vector).any()]
        assert not problem.budget.allows_all(problem.costs.price(np.stack(denser))).any()


def test_a_resolution_that_costs_more_than_it_seemed_is_left() -> None:
    """Scores say what a smaller input does, be it more or less than it seemed alone."""
    chain = made_problem(12, seed=6)
    for factor in (0.05, 20.0):
        problem, truth = with_resolution(chain, 0.4), with_resolution(chain, 0.4 * factor)
        trials, agent = list[Trial](), make_agent("lagrangian", problem)
        while policies := agent.ask(8):
            told = [
                trial(problem, len(trials) + place, policy, -sensitivity_of(truth, policy))
                for place, policy in enumerate(policies)
            ]
            agent.tell(told)
            trials += told
        assert truth.sensitivity is not None
        least = solve(problem.costs, truth.sensitivity.single, problem.budget).sensitivity
        assert -best(trials) <= 1.02 * least


def with_resolution(problem: Problem, least: float) -> Problem:
    """The same with three input sizes, of which the smaller scale all prices."""
    assert problem.sensitivity is not None
    space = Space(
        (*problem.space.variables, Variable("resolution", "", (16, 24, 32))), problem.space.nested
    )
    factors, _ = problem.costs.factors()
    share, last = np.array([0.25, 0.56, 1.0]), len(problem.space.variables)
    lookups = [
        lookup_of((*each.scope, last), each.table[..., None, :] * share[:, None])
        for each in factors
    ]
    costs = CostModel(space, join(lookups, space.sizes), 1e-5)
    single = (*problem.sensitivity.single, np.array([1.0, 0.4, 0.0]) * least)
    budget = Budget((Limit("latency", 0.5 * costs.dense.latency),))
    return Problem(space, costs, budget, Sensitivity(single, 1))


def test_a_further_kind_is_weighed_after_those_that_are_known() -> None:
    with KINDS.including(MADE_UP):
        problem = with_made_up_kind(made_problem(6, seed=1))
        agent = make_agent("lagrangian", problem)
        assert agent.held == ()
        first, *_ = agent.ask(1)
        assert first.further == {"made-up": {"part": "least"}}


def scored(problem: Problem, policies: list[Policy], scores: list[float]) -> list[Trial]:
    pairs = enumerate(zip(policies, scores, strict=True))
    return [trial(problem, number, policy, score) for number, (policy, score) in pairs]


def test_what_scores_no_less_than_the_dense_network_ends_the_search() -> None:
    problem = dataclasses.replace(made_problem(20, seed=1), dense_score=-0.5)
    agent = make_agent("lagrangian", problem)
    first = agent.ask(8)
    assert len(first) == 1  # it may be the last
    agent.tell(scored(problem, first, [-0.6]))
    more = agent.ask(8)
    assert len(more) > 1
    agent.tell(scored(problem, more, [-0.6 + 0.1 * number for number in range(len(more))]))
    assert agent.ask(8) == []


def test_a_first_policy_as_good_as_the_dense_network_is_the_last() -> None:
    problem = dataclasses.replace(made_problem(20, seed=1), dense_score=-0.5)
    agent = make_agent("lagrangian", problem)
    agent.tell(scored(problem, agent.ask(8), [-0.5]))
    assert agent.ask(8) == []
