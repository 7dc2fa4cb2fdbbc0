from importlib.metadata import EntryPoint

import pytest
from bits_problem import bits_problem
from contract import made_problem

from automl.agents import registry
from automl.agents.random import RandomAgent
from automl.agents.registry import AGENTS, describe_agents, make_agent
from automl.errors import UsageError


def test_every_agent_is_described_in_two_lines_and_can_be_made() -> None:
    for entry in describe_agents():
        problem = bits_problem(5) if entry.name == "haq" else made_problem(5)
        assert entry.summary.count("\n") <= 1
        assert entry.paper
        assert make_agent(entry.name, problem, 1).ask(1)
    assert set(AGENTS) >= {"lagrangian", "uniform", "random"}


def test_an_unknown_agent_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean lagrangian"):
        make_agent("lagrange", made_problem(3))


def test_other_packages_can_add_agents_but_not_replace_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = [
        EntryPoint("theirs", "automl.agents.random:RandomAgent", registry.GROUP),
        EntryPoint("uniform", "automl.agents.random:RandomAgent", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert isinstance(make_agent("theirs", made_problem(3)), RandomAgent)
    assert not isinstance(make_agent("uniform", made_problem(3)), RandomAgent)
    assert [entry.name for entry in describe_agents()].count("uniform") == 1
    assert describe_agents()[-1].name == "theirs"
