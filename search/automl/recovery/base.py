"""What a recovery is made of: losses, the weights that it begins with, and rounding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Step:
    """What a loss may read of one batch.

    Attributes:
        inputs: As the teachers are shown them, [images, ...].
        targets: As the data has them; None where there are none.
        found: The student's outputs of floats.
        aims: The teachers', one sequence a teacher, without gradients.
        features: What the student and the first teacher wrote in the places where their shapes
            agree but for the size of maps, by the modules' names.
        classes: Whether outputs of rows are scores of classes.
    """

    inputs: Tensor
    targets: Any
    found: Sequence[Tensor]
    aims: Sequence[Sequence[Tensor]]
    features: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    classes: bool = True


class Term(ABC):
    """One loss, which is added to the others of a recipe.

    Attributes:
        reads_teachers: Whether it needs what the teachers give.
        reads_features: Whether it needs what is inside the networks.
        local: Whether each part learns from what is before it as it is: no gradient passes from one
            place of the features to the one before.
    """

    reads_teachers: ClassVar[bool] = True
    reads_features: ClassVar[bool] = False
    local: bool = False

    @abstractmethod
    def __call__(self, step: Step) -> Tensor:
        """The loss of a batch, a scalar.

        Raises:
            DataError: The batch lacks what it needs.
        """


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a start may read.

    Attributes:
        student: The compressed network, its norms put back. It is changed in place.
        seed: Of what is drawn.
    """

    student: nn.Module
    seed: int = 0


class Start(ABC):
    """Which weights a recovery begins with."""

    @abstractmethod
    def begin(self, beginning: Beginning) -> None:
        """Set the student's weights, in place.

        Raises:
            UsageError: It needs what is not there.
        """


@dataclass(frozen=True, slots=True)
class Levels:
    """The integers that a value may take, counted from the zero point.

    Attributes:
        low, high: The smallest and the largest.
        binary: Whether there are none but these two.
    """

    low: int
    high: int
    binary: bool = False

    def nearest(self, units: Tensor) -> Tensor:
        """The nearest ones, halves to even; of two alone, by the sign."""
        if self.binary:
            return torch.where(units < 0, float(self.low), float(self.high))
        return units.round().clamp(self.low, self.high)


class TrainedQuantizer(ABC):
    """How values are rounded while a network is trained, and what gradients do there."""

    @abstractmethod
    def __call__(self, values: Tensor, step: Tensor, levels: Levels, sharing: int) -> Tensor:
        """Values rounded: integers of `levels` times the step, exactly; with gradients.

        Args:
            values: Weights or activations.
            step: Between two integers, in a shape that expands to that of the values.
            levels: The integers.
            sharing: How many values have one step: of activations, those of one input.
        """
