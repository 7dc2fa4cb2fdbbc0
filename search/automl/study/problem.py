"""All that an agent may know: space, prices, budget, and what each choice does alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeAlias

from automl.cost import Budget, Cost, CostModel
from automl.network import LayerPlan, Network
from automl.policy import Policy
from automl.space import Sensitivity, Space, Variable, kind_of

__all__ = [
    "Agent",
    "Completed",
    "Evaluation",
    "Failed",
    "FinishedTrial",
    "Geometry",
    "Infeasible",
    "Known",
    "Problem",
    "Sensitivity",
    "State",
    "Trial",
    "read_geometry",
]

#: What came of a trial, as storages and logs write it.
State = Literal["COMPLETE", "INFEASIBLE", "FAILED"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """The dense layer that a choice stands for, for agents whose state describes layers.

    Attributes:
        position: Its place in network order, from 0.
        linear: Whether it is a linear layer.
        in_channels, out_channels: Of the layer.
        height, width: Of its input map.
        stride, kernel: Along the height; 1 for a linear layer.
    """

    position: int
    linear: bool
    in_channels: int
    out_channels: int
    height: int
    width: int
    stride: int
    kernel: int


@dataclass(frozen=True, slots=True)
class Known:
    """A policy and what it scored, whatever it costs.

    Attributes:
        policy: Of the space.
        score: Higher is better.
        images: On how many inputs it was scored, where that is known.
    """

    policy: Policy
    score: float
    images: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A search problem. Agents see this and nothing of torch modules.

    Attributes:
        space: The choices.
        costs: Their prices.
        budget: What a policy may cost.
        sensitivity: What each choice does when it is made alone, where that was measured.
        geometry: One a variable of the space, where a network was read (`read_geometry`).
        known: Policies of the same choices that were scored before this study, for another budget.
        dense_score: Of the dense network, on what candidates are scored on; None where that is not
            known.
    """

    space: Space
    costs: CostModel
    budget: Budget
    sensitivity: Sensitivity | None = None
    geometry: tuple[Geometry, ...] = ()
    known: tuple[Known, ...] = ()
    dense_score: float | None = None


@dataclass(frozen=True, slots=True)
class FinishedTrial:
    """One policy that was proposed, whatever came of it.

    Attributes:
        number: Position in the study, from 0.
        policy: What was proposed.
        cost: Its predicted cost.
        seconds: Wall time that the trial took.
    """

    number: int
    policy: Policy
    cost: Cost
    seconds: float


@dataclass(frozen=True, slots=True)
class Completed(FinishedTrial):
    """A policy that was scored.

    Attributes:
        score: Higher is better.
        images: On how many inputs it was scored, where that is known.
    """

    state: ClassVar[State] = "COMPLETE"

    score: float
    images: int | None = None


@dataclass(frozen=True, slots=True)
class Infeasible(FinishedTrial):
    """A policy over the budget, which was not scored."""

    state: ClassVar[State] = "INFEASIBLE"


@dataclass(frozen=True, slots=True)
class Failed(FinishedTrial):
    """A policy that could not be scored.

    Attributes:
        reason: What was raised in place of a score, or what the score was.
    """

    state: ClassVar[State] = "FAILED"

    reason: str


Trial: TypeAlias = Completed | Infeasible | Failed


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A score with the number of inputs that it is the mean of."""

    score: float
    images: int


class Agent(Protocol):
    """Proposes policies and learns from their trials. Inherit it, and change what differs.

    `ask` may return fewer policies than asked for; none means that the agent is finished. `ask`
    does not change what the agent has learned; `tell` does.

    Attributes:
        full_scores: Whether it wants to know of every candidate what it scores on all inputs: one
            that cannot beat the best is given up early otherwise.
        held: Kinds of the problem's space that it does not choose. It holds them dense: always
            where it does not know them, else as far as the budget allows.
    """

    full_scores: bool = False
    held: tuple[str, ...] = ()

    def ask(self, count: int) -> list[Policy]:
        """Up to `count` policies to score next."""
        ...

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from finished trials, infeasible and failed ones among them."""
        ...


def read_geometry(network: Network, space: Space) -> tuple[Geometry, ...]:
    """The layer behind each variable of a space: the first that its kind says it is about.

    That is a channel group's first producer, a block's first layer, the layer whose bits are
    chosen, and the network's first layer for the resolution.
    """
    return tuple(_geometry(network.plans, variable) for variable in space.variables)


def _geometry(plans: Sequence[LayerPlan], variable: Variable) -> Geometry:
    kind = kind_of(variable.kind)
    places = (i for i, plan in enumerate(plans) if kind.is_at(plan, variable.name))
    position = next(places, 0)
    layer = plans[position].layer
    return Geometry(
        position,
        layer.op == "linear",
        layer.in_channels,
        layer.out_channels,
        layer.in_size[-2],
        layer.in_size[-1],
        layer.stride[0],
        layer.kernel[0],
    )
