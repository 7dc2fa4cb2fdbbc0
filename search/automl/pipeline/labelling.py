"""Labels of calibration inputs, for what ranks channels by them."""

from __future__ import annotations

from automl.compression import Labelled, check_needs
from automl.network import TracedModel
from automl.pipeline.requests import SearchRequest
from automl.userdata import Batches, Inputs, tensor_of_targets


def labelled(batches: Batches) -> Inputs | Labelled:
    """Calibration inputs, with their targets where these are class indices or pictures."""
    inputs, targets = batches.by_number, tensor_of_targets(batches)
    return inputs if targets is None else Labelled(inputs, targets)


def check_importance(request: SearchRequest, traced: TracedModel) -> None:
    """Refuse an importance that lacks what it needs, before anything costly is done.

    Raises:
        UsageError: It says what is lacking.
    """
    calibration = request.task.data.calibration
    two = calibration.head(2).inputs
    check_needs(request.importance, traced, two, tensor_of_targets(calibration))
