"""A short recovery of each candidate, before a search scores it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from automl.compression import resized
from automl.errors import DataError
from automl.network import with_norms, without_norms
from automl.policy import Policy
from automl.recovery.loop import RecoveryData, recover
from automl.recovery.objective import Objective
from automl.recovery.recipe import RecoveryRecipe

Tensor = torch.Tensor


class ShortRecovery:
    """Makes networks that were trained for some steps; the same one whenever it is asked.

    All candidates see the same batches in the same order: what a policy comes to depends on the
    policy and the data's seed alone, not on what was made before it.

    Args:
        make: Makes what is trained, a network of floats.
        dense: The teacher: the traced model.
        recipe: How; its steps are all that is done.
        data: What is trained on.
        inputs: What norms take their statistics on as they are put back, [images, ...] each.
        classes: Whether outputs of rows are scores of classes.
    """

    def __init__(
        self,
        make: Callable[[Policy], nn.Module],
        dense: nn.Module,
        recipe: RecoveryRecipe,
        data: RecoveryData,
        inputs: Sequence[Tensor],
        *,
        classes: bool = True,
    ) -> None:
        self._make, self._dense, self._recipe = make, dense, recipe
        self._data, self._inputs, self._classes = data, inputs, classes

    def __call__(self, policy: Policy) -> nn.Module:
        """The policy's network, trained, in evaluation mode.

        Args:
            policy: Of channels, blocks and a resolution, in float.

        Raises:
            DataError: There is no training data, or the loss was not finite.
        """
        shown = [resized(each, policy.resolution) for each in self._inputs]
        student = with_norms(self._make(policy), shown)
        terms, size = self._recipe.made_terms(), policy.resolution
        objective = Objective(
            student, (self._dense,), terms, resolution=size, classes=self._classes
        )
        with torch.enable_grad():
            found = recover(objective, self._data, self._recipe)
        if found.stopped:
            raise DataError(f"this candidate cannot be trained: {found.stopped}")
        return without_norms(student)
