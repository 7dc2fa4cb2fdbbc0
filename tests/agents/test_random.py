import numpy as np
from contract import AgentContract, made_problem, run

from automl.agents.registry import make_agent


class TestRandom(AgentContract):
    name = "random"
    beats_random = False


def test_what_is_proposed_uses_the_room_that_the_budget_leaves() -> None:
    """No single option can be raised without breaking the budget."""
    problem = made_problem(9, seed=1)
    for trial in run(make_agent("random", problem, 3), problem, 20):
        vector = problem.space.encode(trial.policy)
        for variable in np.flatnonzero(vector < problem.space.dense):
            raised = vector.copy()
            raised[variable] += 1
            assert not problem.budget.allows_all(problem.costs.price(raised[None]))[0]


def test_seeds_differ_and_nothing_is_proposed_twice() -> None:
    problem = made_problem(9, seed=2)
    first = run(make_agent("random", problem, 1), problem, 20)
    second = run(make_agent("random", problem, 2), problem, 20)
    assert [trial.policy for trial in first] != [trial.policy for trial in second]
    assert len({problem.space.encode(trial.policy).tobytes() for trial in first}) == len(first)
