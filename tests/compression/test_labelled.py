"""Inputs with targets."""

from __future__ import annotations

import torch

from automl.compression.labelled import Labelled, targets_of, without_labels


def test_inputs_and_targets_are_taken_apart() -> None:
    images, targets = torch.randn(5, 3), torch.arange(5)
    both = Labelled(images, targets)
    assert without_labels(both) is images
    assert without_labels(images) is images
    found = targets_of(both, 3)
    assert found is not None
    assert found.tolist() == [0, 1, 2]
    assert targets_of(images, 3) is None
