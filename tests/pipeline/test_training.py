"""A compressed network in its user's own loop: trainable, trained, delivered."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from recoverable import batches, pair
from torch import nn

import automl
from automl.compression import QuantizedModel
from automl.errors import DataError, UsageError
from automl.network.traced_model import trace_network


@pytest.fixture
def small() -> nn.Module:
    return trace_network(pair()[1], (1, 3, 8, 8), resolutions=()).model


def test_a_loop_of_ones_own_trains_what_is_delivered(small: nn.Module) -> None:
    teacher, data = pair()[0].train(), batches()
    student = automl.trainable(small, data)
    inputs = data[0][0]
    torch.testing.assert_close(student(inputs), small(inputs), rtol=1e-4, atol=1e-5)
    optimiser = torch.optim.SGD(student.parameters(), 0.02, momentum=0.9)
    student.train()
    found = []
    for loss in automl.recover(student, teacher, data, "labels+kd:temperature=2+hints", epochs=3):
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    assert len(found) == 3 * len(data)
    assert sum(found[-4:]) < sum(found[:4])
    result = automl.delivered(student)
    assert result.state_dict().keys() == small.state_dict().keys()
    torch.testing.assert_close(result(inputs), student.eval()(inputs), rtol=1e-4, atol=1e-5)
    assert not teacher.training


def test_a_misspelt_term_is_answered_at_once(small: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"no term 'hins' \(did you mean hints"):
        automl.recover(small, small, batches(), "kd+hins")


def test_few_inputs_are_read_of_data_without_an_end(small: nn.Module) -> None:
    def endless() -> object:
        while True:
            yield batches(images=500)[0]

    assert automl.trainable(small, endless())  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no inputs"):
        automl.trainable(small, [])


def test_integers_are_not_trained(small: nn.Module, tmp_path: Path) -> None:
    rounded = QuantizedModel.__new__(QuantizedModel)
    with pytest.raises(UsageError, match="computes in integers"):
        automl.trainable(rounded, batches())
