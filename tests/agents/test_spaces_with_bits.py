"""Agents that are not about bits, on spaces that have them: they search them or hold them."""

import pytest
from bits_problem import CPU, WEIGHT_ONLY, bits_problem
from contract import run

from automl.agents.registry import AGENTS, make_agent
from automl.errors import SpaceError
from automl.study.problem import Problem

#: Those that choose channels and blocks alone.
HOLDING = ("amc", "three-dims")
SEARCHING = tuple(name for name in AGENTS.ours if name not in (*HOLDING, "haq"))


def mixed(share: float = 0.7) -> Problem:
    """Six layers with bits and channels, the last of them in a block."""
    return bits_problem(6, seed=1, share=share, groups=6, block=True)


@pytest.mark.parametrize("name", [*SEARCHING, *HOLDING])
def test_a_space_with_bits_channels_and_a_block(name: str) -> None:
    problem = mixed()
    done = run(make_agent(name, problem), problem, 16)  # checks that each is legal and fits
    assert done
    dense = problem.space.decode(problem.space.dense).bits
    if name in HOLDING:
        assert all(trial.policy.bits == dense for trial in done)
    elif name != "uniform":
        assert any(trial.policy.bits != dense for trial in done)


@pytest.mark.parametrize("name", SEARCHING)
@pytest.mark.parametrize("options", [CPU, WEIGHT_ONLY], ids=["cpu", "weights"])
def test_a_space_of_bits_alone(name: str, options: tuple[object, ...]) -> None:
    quantity = "bytes" if options is WEIGHT_ONLY else "latency"
    problem = bits_problem(5, seed=2, share=0.6, options=options, quantity=quantity)  # type: ignore[arg-type]
    assert run(make_agent(name, problem), problem, 12)


@pytest.mark.parametrize("name", HOLDING)
def test_an_agent_of_shapes_says_who_searches_bits_alone(name: str) -> None:
    with pytest.raises(SpaceError, match=r"can search it: lagrangian, .*haq, greedy"):
        make_agent(name, bits_problem(5))
