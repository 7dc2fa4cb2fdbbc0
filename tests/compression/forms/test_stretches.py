"""K-means of stretches, and which goes where."""

from __future__ import annotations

import torch

from automl.compression.forms.stretches import shared_stretches


def test_what_is_put_together_from_few_is_found_exactly() -> None:
    torch.manual_seed(0)
    entries = torch.randn(5, 3, dtype=torch.float64).float().double()
    weights = entries[torch.randint(5, (2, 6, 4))].flatten(2)
    mixed = torch.randn(2, 12, 40, dtype=torch.float64)
    metric = mixed @ mixed.transpose(1, 2) / 40
    for known in (None, metric):
        found = shared_stretches(weights, known, 3, 5)
        torch.testing.assert_close(found, weights, rtol=1e-5, atol=1e-6)


def test_as_many_as_there_are_places_lose_nothing() -> None:
    torch.manual_seed(1)
    weights = torch.randn(1, 2, 7, dtype=torch.float64)
    found = shared_stretches(weights, None, 4, 16)
    torch.testing.assert_close(found, weights, rtol=1e-5, atol=1e-6)
