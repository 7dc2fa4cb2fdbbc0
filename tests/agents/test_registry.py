import pytest
from bits_problem import bits_problem
from contract import made_problem

from automl.agents.amc import AmcSettings
from automl.agents.haq import HaqSettings
from automl.agents.registry import AGENTS, default_trials, make_agent
from automl.errors import UsageError


def test_every_agent_is_described_in_two_lines_and_can_be_made() -> None:
    for entry in AGENTS.describe():
        problem = bits_problem(5) if entry.name == "haq" else made_problem(5)
        assert entry.summary.count("\n") <= 1
        assert entry.paper
        assert make_agent(entry.name, problem, 1).ask(1)
    assert set(AGENTS.ours) >= {"lagrangian", "uniform", "random"}


def test_agents_that_learn_are_given_more_trials_than_their_warm_up() -> None:
    for name, settings in (("amc", AmcSettings()), ("haq", HaqSettings())):
        assert (default_trials(name) or 0) > 2 * settings.warm_up
    assert default_trials("lagrangian") is None


def test_an_unknown_agent_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean lagrangian"):
        make_agent("lagrange", made_problem(3))
