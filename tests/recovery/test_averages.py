"""Running averages of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.recovery.averages import Averages


def test_the_decay_rises_from_low_and_whole_numbers_are_the_last() -> None:
    norm = nn.BatchNorm1d(1)
    average = Averages(norm, 0.5)
    values = []
    for number in range(1, 4):
        with torch.no_grad():
            norm.weight.fill_(number)
            norm.num_batches_tracked.fill_(number)  # type: ignore[operator, union-attr]
        average.update(norm)
        values.append(float(average.values["weight"]))
    expected, now = [], 1.0
    for number, decay in ((1, 2 / 11), (2, 3 / 12), (3, 4 / 13)):
        now = decay * now + (1 - decay) * number
        expected.append(now)
    assert values == pytest.approx(expected)
    assert int(average.values["num_batches_tracked"]) == 3


def test_it_goes_on_from_what_it_said() -> None:
    layer = nn.Linear(2, 2)
    one, other = Averages(layer, 0.9), Averages(layer, 0.9)
    with torch.no_grad():
        layer.weight.add_(1)
    one.update(layer)
    other.restore(**one.state())  # type: ignore[arg-type]
    one.update(layer)
    other.update(layer)
    assert torch.equal(one.values["weight"], other.values["weight"])
