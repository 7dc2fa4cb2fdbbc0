"""Numbers of several layers, brought together."""

from __future__ import annotations

import torch

from automl.compression.importance.scored import alike, relative


def test_layers_count_alike_whatever_their_scale() -> None:
    one, other = torch.tensor([1.0, 3.0]), torch.tensor([900.0, 100.0])
    assert alike([one, other]).tolist() == [0.5 + 1.8, 1.5 + 0.2]


def test_numbers_that_are_all_zero_stay_so() -> None:
    assert relative(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]
