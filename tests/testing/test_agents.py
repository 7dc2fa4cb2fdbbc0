"""The contract finds agents out; it needs no test runner."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from automl.agents.random import RandomAgent
from automl.errors import StudyError
from automl.policy.policy import Policy
from automl.study.problem import Agent, Problem, Trial
from automl.testing import AgentContract

PACKAGE = Path(__file__).resolve().parents[2] / "search"


class Forgetful(RandomAgent):
    """Random search whose seed is not the one it was given."""

    made = 0

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        Forgetful.made += 1
        super().__init__(problem, seed + Forgetful.made)


class Dense(Agent):
    """Proposes the dense network, whatever the budget, for ever."""

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self.space = problem.space

    def ask(self, count: int) -> list[Policy]:
        return [self.space.decode(self.space.dense)] * count

    def tell(self, trials: Sequence[Trial]) -> None:
        pass


class Wilful(Agent):
    """Proposes one policy more than it was asked for."""

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self.space, self.generator = problem.space, np.random.default_rng(seed)

    def ask(self, count: int) -> list[Policy]:
        return [
            self.space.decode(vector) for vector in self.space.random(count + 1, self.generator)
        ]

    def tell(self, trials: Sequence[Trial]) -> None:
        pass


class Contract(AgentContract):
    """Of an agent that no entry point names."""

    __test__ = False
    name = "mine"

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def make(self, problem: Problem, seed: int = 0) -> Agent:
        agent: Agent = self.kind(problem, seed)
        return agent


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (Dense, "only_legal_choices_and_never_over_budget"),
        (Forgetful, "the_same_seed_gives_the_same_policies"),
        (Dense, "it_ends_when_the_space_is_exhausted"),
        (Wilful, "it_asks_for_no_more_than_it_was_asked_for"),
        (RandomAgent, "it_beats_random_at_equal_evaluations"),
    ],
)
def test_who_breaks_a_promise_is_found_out(kind: type, promise: str) -> None:
    with pytest.raises(AssertionError):
        getattr(Contract(kind), f"test_{promise}")()


def test_an_agent_that_proposes_otherwise_does_not_resume() -> None:
    with pytest.raises(StudyError, match="is not what the agent proposes now"):
        Contract(Forgetful).test_a_broken_study_resumes_to_the_end_of_an_unbroken_one()


def test_the_contract_needs_no_test_runner() -> None:
    script = (
        "import automl.testing as t, sys; [getattr(t, name) for name in t.__all__];"
        " sys.exit('pytest' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": str(PACKAGE)})
