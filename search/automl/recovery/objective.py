"""What a recovery minimises: a module that gives the loss of a batch, for any training loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from automl.compression import resized
from automl.network import output_tensors
from automl.recovery.base import Step, Term
from automl.recovery.delivered_weights import DeliveredWeights
from automl.recovery.formed import FormedStudent
from automl.recovery.places import agreeing_places, watching
from automl.recovery.quantised import QuantizedStudent

Tensor = torch.Tensor


def network_inside(student: nn.Module) -> nn.Module:
    """The network whose modules have the dense one's names; the student itself where it has them.

    A student that makes its layers' weights holds one, and runs it with these.
    """
    if isinstance(student, QuantizedStudent | FormedStudent):
        return student.network
    return student


class Objective(nn.Module):
    """The sum of losses of a student; its parameters are the student's.

    Args:
        student: What is trained.
        teachers: Dense networks, the first one that the student was made of. They are not trained,
            and follow the inputs to their device.
        terms: Losses.
        resolution: What the student's inputs are resized to; 0 for none.
        classes: Whether outputs of rows are scores of classes.
    """

    def __init__(
        self,
        student: nn.Module,
        teachers: Sequence[nn.Module],
        terms: Sequence[Term],
        *,
        resolution: int = 0,
        classes: bool = True,
    ) -> None:
        super().__init__()
        self.student = student
        self._teachers = (tuple(teachers),)  # in a tuple, so that they are no part of this module
        self._terms = tuple(terms)
        self._resolution, self._classes = resolution, classes
        self._places: tuple[str, ...] | None = None
        self._weights: DeliveredWeights | None = None

    def forward(self, inputs: Tensor, targets: Any = None) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            inputs: As the teachers are shown them, [images, ...].
            targets: As the terms read them.
        """
        teachers, shown = self._teachers[0], resized(inputs, self._resolution)
        if not any(term.reads_teachers for term in self._terms):
            teachers = ()
        for teacher in teachers:
            teacher.to(inputs.device)
        places, weights = self._agreed(inputs, shown), self._delivered(shown)
        cut = any(term.local for term in self._terms)
        with watching(network_inside(self.student), places, cut=cut) as features:
            found = _floats(self.student(shown))
        aims: list[list[Tensor]] = []
        wanted: dict[str, Tensor] = {}
        for number, teacher in enumerate(teachers):
            with torch.no_grad(), watching(teacher, () if number else places) as seen:
                aims.append(_floats(teacher(inputs)))
                wanted |= seen
        pairs = {name: (features[name], wanted[name]) for name in places}
        step = Step(inputs, targets, found, aims, pairs, self._classes, self.student, weights)
        return torch.stack([term(step) for term in self._terms]).sum()

    def shown(self, inputs: Tensor) -> Tensor:
        """Inputs as the student is shown them."""
        return resized(inputs, self._resolution)

    def rest(self) -> None:
        """Bring all networks back to the processor, in evaluation mode."""
        for network in (self.student, *self._teachers[0]):
            network.cpu().eval()

    def places(self, inputs: Tensor) -> tuple[str, ...]:
        """Names of modules whose outputs its terms compare; () where none does, or none agree.

        Args:
            inputs: As the teachers are shown them, [images, ...].
        """
        return self._agreed(inputs, resized(inputs, self._resolution))

    def _delivered(self, shown: Tensor) -> dict[str, Tensor]:
        """Weights, where a term reads them; norms are found on the first batch."""
        if not any(term.reads_weights for term in self._terms):
            return {}
        if self._weights is None:
            self._weights = DeliveredWeights(self.student, shown)
        return self._weights()

    def _agreed(self, inputs: Tensor, shown: Tensor) -> tuple[str, ...]:
        """Places of features, found on the first batch."""
        if self._places is None:
            self._places = ()
            if any(term.reads_features for term in self._terms):
                few, small = inputs[:2], shown[:2]
                training = [each for each in self.student.modules() if each.training]
                self.student.eval()
                pair = network_inside(self.student), self._teachers[0][0]
                self._places = agreeing_places(*pair, few, small, run=self.student)
                for module in training:
                    module.training = True
        return self._places


def _floats(output: object) -> list[Tensor]:
    return [each for each in output_tensors(output) if each.is_floating_point()]
