"""Entropies by hand."""

from __future__ import annotations

import math

import pytest
import torch

from automl.compression.importance.entropy import Entropy, entropy
from automl.errors import UsageError
from automl.testing.importances import ImportanceContract


def test_it_is_that_of_the_shares_of_bins() -> None:
    even = torch.tensor([0.0, 1.0, 2.0, 3.99])
    same = torch.full((4,), 2.5)
    halves = torch.tensor([0.0, 0.0, 4.0, 4.0])
    found = entropy(torch.stack([even, same, halves], 1), 4)
    torch.testing.assert_close(found, torch.tensor([math.log(4), 0.0, math.log(2)]).double())


def test_values_that_are_all_the_same_have_none() -> None:
    assert entropy(torch.ones(5, 3), 10).tolist() == [0.0, 0.0, 0.0]


def test_one_bin_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 bins, not 1"):
        Entropy(bins=1)


class TestEntropy(ImportanceContract):
    name = "entropy"
