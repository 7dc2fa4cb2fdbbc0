"""All that an agent may know: space, prices, budget, and what each choice does alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from automl.cost import Budget, Cost, CostModel
from automl.policy import Policy
from automl.space import Sensitivity, Space

__all__ = ["Agent", "Problem", "Sensitivity", "State", "Trial"]

State = Literal["COMPLETE", "INFEASIBLE", "FAILED"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A search problem. Agents see this and nothing of torch modules."""

    space: Space
    costs: CostModel
    budget: Budget
    sensitivity: Sensitivity | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One policy and what came of it.

    Attributes:
        number: Position in the study, from 0.
        policy: What was proposed.
        cost: Its predicted cost.
        state: COMPLETE has a score; INFEASIBLE was over budget and not scored; FAILED raised.
        score: Higher is better; None unless COMPLETE.
        seconds: Wall time that the trial took.
        reason: Why it failed, or "".
    """

    number: int
    policy: Policy
    cost: Cost
    state: State
    score: float | None
    seconds: float
    reason: str = ""


class Agent(Protocol):
    """Proposes policies and learns from their trials.

    `ask` may return fewer policies than asked for; none means that the agent is finished. `ask`
    does not change what the agent has learned; `tell` does.
    """

    def ask(self, count: int) -> list[Policy]:
        """Up to `count` policies to score next."""
        ...

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from finished trials, infeasible and failed ones among them."""
        ...
