"""Outputs of many inputs, a few at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from automl.userdata import passes
from automl.userdata.passes import fitting, in_passes
from automl.userdata.scores import Logits, top1_accuracy


class Counting(nn.Module):
    """Sums of inputs; notes how many came at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.sizes.append(len(inputs))
        return inputs.flatten(1)[:, :3]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "_BYTES", 4 * 4 * 6)  # four inputs of six numbers


def test_no_more_go_together_than_fit_and_at_least_one_does() -> None:
    model, inputs = Counting(), torch.randn(10, 2, 3)
    assert torch.equal(in_passes(model, inputs), inputs.flatten(1)[:, :3])
    assert model.sizes == [4, 4, 2]
    assert fitting(torch.zeros(2, 1000)) == 1


@pytest.mark.parametrize("score", [top1_accuracy, Logits(Counting())])
def test_scores_are_what_they_are_in_one_pass(
    score: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = torch.randn(10, 2, 3, generator=torch.Generator().manual_seed(0))
    batches = [(inputs, torch.arange(10) % 3)]
    model = Counting()
    found = score(model, batches)  # type: ignore[operator]
    assert model.sizes == [4, 4, 2]
    monkeypatch.setattr(passes, "_BYTES", 1 << 30)
    assert score(model, batches) == pytest.approx(found)  # type: ignore[operator]
