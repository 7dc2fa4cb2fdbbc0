"""The loss that networks are trained with: targets of the data's own."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from automl.errors import DataError
from automl.recovery.base import Step, Term
from automl.userdata import class_indices


class Labels(Term):
    """Cross-entropy of the first output with class indices, or mean squares to pictures.

    Args:
        weight: What the loss is multiplied by.
        smoothing: Share of a label that is spread over all classes.
    """

    reads_teachers = False

    def __init__(self, weight: float = 1.0, smoothing: float = 0.0) -> None:
        self._weight, self._smoothing = weight, smoothing

    def __call__(self, step: Step) -> Tensor:
        """The mean over the batch."""
        found, targets = step.found[0], step.targets
        if targets is None:
            raise DataError("the term labels needs targets, and a batch of the data has none")
        if isinstance(targets, Tensor) and targets.is_floating_point():
            if targets.shape != found.shape:
                raise DataError(
                    f"targets of shape {tuple(targets.shape)} are not those of outputs of shape"
                    f" {tuple(found.shape)}"
                )
            return self._weight * F.mse_loss(found, targets.to(found))
        classes = class_indices(step.inputs, targets).to(found.device)
        if found.dim() != 2:
            raise DataError(
                f"the term labels takes one number a class, and outputs are of shape"
                f" {tuple(found.shape[1:])}: train with kd"
            )
        if int(classes.min()) < 0 or int(classes.max()) >= found.shape[1]:
            raise DataError(
                f"labels from {int(classes.min())} to {int(classes.max())}, and the model has"
                f" {found.shape[1]} outputs: 0 to {found.shape[1] - 1}"
            )
        return self._weight * F.cross_entropy(
            found.float(), classes, label_smoothing=self._smoothing
        )
