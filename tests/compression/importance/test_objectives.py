"""Losses on labels, and outputs projected on signs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from automl.compression.importance.objectives import label_loss, projected
from automl.errors import UsageError


def test_the_loss_is_that_of_classes_or_of_pictures() -> None:
    outputs, classes = torch.randn(3, 4), torch.tensor([1, 0, 3])
    expected = F.cross_entropy(outputs, classes, reduction="sum")
    torch.testing.assert_close(label_loss(outputs, classes), expected)
    pictures, truth = torch.randn(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    expected = pictures.square().mean((1, 2, 3)).sum()
    torch.testing.assert_close(label_loss(pictures, truth), expected)


def test_targets_of_another_form_have_no_loss() -> None:
    with pytest.raises(UsageError, match="no loss to differentiate"):
        label_loss(torch.randn(3, 4), torch.randn(3, 5))


def test_a_seed_draws_the_same_signs_for_an_image_in_any_batch() -> None:
    outputs, scales = torch.eye(4), torch.ones(4)
    whole = projected(outputs, slice(0, 4), scales, 7)
    parts = sum(projected(outputs[at : at + 1], slice(at, at + 1), scales, 7) for at in range(4))
    assert whole == parts
    sums = {float(projected(outputs, slice(0, 4), scales, seed)) for seed in range(8)}
    assert len(sums) > 1
    assert all(abs(each) <= 4 for each in sums)
