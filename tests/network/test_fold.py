"""Batch norms are folded where a layer alone feeds them, and nothing else changes."""

from __future__ import annotations

import threading

import pytest
import torch
from specimens import Specimen, outputs
from torch import Tensor, nn

from automl.errors import ModelError
from automl.network.fold import copied, fold, foldable
from automl.network.trace import record
from automl.network.traced_model import trace_network


class Norms(nn.Module):
    """Of four batch norms two can be folded: one has no layer before it, one shares its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm2d(4)
        self.plain, self.plain_norm = nn.Conv2d(4, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.shared, self.shared_norm = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.up = nn.ConvTranspose2d(6, 4, 2, 2, groups=2)
        self.up_norm = nn.BatchNorm2d(4, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.plain_norm(self.plain(self.first(x)))
        y = self.shared(x)
        return self.up_norm(self.up(self.shared_norm(y) + y))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(1)
    model = Norms().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return model


def test_only_norms_that_alone_read_a_layer_are_found(model: nn.Module) -> None:
    trace = record(model, torch.randn(1, 4, 3, 3), labelled=False)
    assert foldable(trace) == [("plain", "plain_norm"), ("up", "up_norm")]


def test_the_output_stays_and_every_layer_has_a_bias(model: nn.Module) -> None:
    example = torch.randn(1, 4, 3, 3)
    result = copied(model)
    fold(result, example)
    torch.testing.assert_close(result(example), model(example))
    assert isinstance(result.plain_norm, nn.Identity)
    assert isinstance(result.up_norm, nn.Identity)
    assert isinstance(result.shared_norm, nn.BatchNorm2d)
    assert result.plain.bias is not None
    assert model.plain.bias is None  # type: ignore[union-attr]
    assert not any(parameter.requires_grad for parameter in result.parameters())


def test_a_model_that_cannot_be_copied_is_said_to() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    model.__dict__["lock"] = threading.Lock()
    with pytest.raises(ModelError) as error:
        trace_network(model, (1, 3, 8, 8))
    assert str(error.value) == "the model cannot be copied: cannot pickle '_thread.lock' object"


def test_a_norm_of_a_class_of_its_own_stays() -> None:
    class Doubled(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    model = nn.Sequential(nn.Conv2d(2, 2, 1), Doubled(2)).eval()
    example = torch.randn(1, 2, 2, 2)
    result = copied(model)
    fold(result, example)
    assert isinstance(result[1], Doubled)  # type: ignore[index]
    torch.testing.assert_close(result(example), model(example))


def test_a_norm_that_keeps_no_statistics_stays() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)).eval()
    example = torch.randn(1, 2, 3, 3)
    result = copied(model)
    fold(result, example)
    assert isinstance(result[1], nn.BatchNorm2d)  # type: ignore[index]
    torch.testing.assert_close(result(example), model(example))


def test_folding_changes_nothing(each: Specimen) -> None:
    found = outputs(each.traced.model, each.example)
    for left, right in zip(found, outputs(each.model, each.example), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)
