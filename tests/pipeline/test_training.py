"""A compressed network in its user's own loop: trainable, trained, delivered."""

from __future__ import annotations

import pytest
import torch
from recoverable import batches, pair
from torch import nn

import automl
from automl.compression import QParams, QuantizedModel
from automl.errors import DataError, UsageError
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Bits
from quantised import all_layers, images, quantised, traced

__all__ = ["traced"]


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


def test_bits_are_trained_by_the_quantizer_that_is_named(traced: TracedModel) -> None:
    model = quantised(traced, all_layers(traced, Bits(4, 4)), None)
    data = [*images(32).split(16)]
    with pytest.raises(UsageError, match=r"no trained-quantizer 'pcat'.*pact"):
        automl.trainable(model, data, quantizer="pcat")
    with pytest.raises(UsageError, match="w2, and the layers have w4a4"):
        automl.trainable(model, data, quantizer="ttq")
    with pytest.raises(DataError, match="no inputs"):
        automl.trainable(model, [])
    student = automl.trainable(model, data, quantizer="pact", dense=traced.model)
    optimiser = torch.optim.SGD(student.parameters(), 0.01)
    for loss in automl.recover(student, traced.model, data):
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    made = automl.delivered(student)
    assert isinstance(made, QuantizedModel)
    assert all(isinstance(each, QParams) and each.odd for each in made.weights.values())
    torch.testing.assert_close(made(images(4)), student.eval()(images(4)).detach())
