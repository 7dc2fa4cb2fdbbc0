"""Separation of classes by hand."""

from __future__ import annotations

import pytest
import torch

from automl.compression.importance.lda import separation
from automl.testing.importances import ImportanceContract


def test_it_is_scatter_between_classes_over_scatter_within() -> None:
    values = torch.tensor([[1.0, 0.0], [3.0, 4.0], [11.0, 0.0], [13.0, 4.0]])
    classes = torch.tensor([7, 7, 2, 2])
    found = separation(values, classes)
    assert float(found[0]) == pytest.approx(100 / 4, rel=1e-3)
    assert float(found[1]) == pytest.approx(0.0, abs=1e-6)


def test_what_never_varies_separates_nothing() -> None:
    values = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    found = separation(values, torch.tensor([0, 1, 1]))
    assert float(found[1]) == 0.0
    assert torch.isfinite(found).all()


class TestLda(ImportanceContract):
    name = "lda"
