"""Built-in scores: one value an image, and their mean."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from automl.errors import DataError
from automl.userdata import scores
from automl.userdata.scores import Confidence, Logits, Reference, psnr, top1_accuracy


def linear(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(3, 5)


def batches(*sizes: int) -> list[tuple[Tensor, Any]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(size, 3, generator=generator), torch.zeros(size)) for size in sizes]


def test_top1_accuracy() -> None:
    model = nn.Identity()
    three = [(torch.eye(3), torch.tensor([0, 1, 0])), (torch.eye(3)[:1], [0])]
    assert top1_accuracy(model, three) == 0.75
    reference = top1_accuracy.reference(three)
    assert reference.rows.tolist() == [0, 1, 0, 0]
    assert top1_accuracy.values(torch.eye(3), reference[:3]).tolist() == [1.0, 1.0, 0.0]


def test_the_probability_of_the_right_class() -> None:
    outputs = torch.tensor([[3.0, 1.0], [0.0, 0.0], [1.0, 3.0], [5.0, 0.0]])
    found = Confidence().values(outputs, Reference(torch.tensor([0, 1, 0, 7])))
    right = 1.0 / (1.0 + math.exp(-2.0))
    assert found.tolist() == pytest.approx([right, 0.5, 1.0 - right, 0.0])
    with pytest.raises(DataError, match="are not one row of classes"):
        Confidence().values(torch.zeros(2, 3, 4), Reference(torch.zeros(2)))


@pytest.mark.parametrize("targets", [torch.zeros(3, 2).long(), torch.zeros(3), torch.zeros(2)])
def test_targets_that_are_no_classes(targets: Tensor) -> None:
    with pytest.raises(DataError, match=r"are not class indices .* need a score of your own"):
        top1_accuracy(nn.Identity(), [(torch.eye(3), targets)])


def test_outputs_that_are_no_classes() -> None:
    maps = [(torch.zeros(2, 3, 4, 4), torch.zeros(2).long())]
    with pytest.raises(DataError, match=r"shape \(2, 3, 4, 4\) are not one row of classes"):
        top1_accuracy(nn.Identity(), maps)


def test_logits_are_relative_to_the_variance_of_the_dense_outputs() -> None:
    dense, other = linear(0), linear(1)
    data = batches(4, 2)
    inputs = torch.cat([x for x, _ in data])
    score = Logits(dense)
    assert score(dense, data) == 0.0
    with torch.no_grad():
        expected = (other(inputs) - dense(inputs)).square().mean() / dense(inputs).var(0).mean()
        values = score.values(dense(inputs), score.reference(data))
    assert score(other, data) == pytest.approx(-float(expected), rel=1e-5)
    assert values.shape == (6,)
    assert values.dtype == torch.float64
    assert float(values.max()) <= score.best


def test_logits_of_one_image_or_of_constant_outputs_are_finite() -> None:
    constant = nn.Linear(3, 5)
    nn.init.zeros_(constant.weight)
    for dense, data in ((linear(0), batches(1)), (constant, batches(4))):
        found = Logits(dense)(linear(1), data)
        assert float("-inf") < found < 0.0


def test_dense_outputs_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "MAX_BYTES", 4 * 5 * 3)
    score = Logits(linear(0))
    reference = score.reference(batches(2, 4, 2))
    assert reference.rows.shape == (3, 5)
    seen: list[int] = []

    def other(inputs: Tensor) -> Tensor:
        seen.append(len(inputs))
        found: Tensor = linear(1)(inputs)
        return found

    model = nn.Module()
    model.forward = other
    assert score(model, batches(2, 4, 2)) < 0.0
    assert seen == [2, 1]


def test_a_reference_is_cut_by_image() -> None:
    reference = Reference(torch.arange(4.0), 2.0)
    assert reference[1:3].rows.tolist() == [1.0, 2.0]
    assert reference[torch.tensor([3, 0])].rows.tolist() == [3.0, 0.0]
    assert reference[1:3].scale == 2.0


def test_psnr_is_the_mean_over_images_in_decibels() -> None:
    clean = torch.rand(3, 3, 4, 4)
    shown = clean + torch.tensor([0.1, 0.01, 0.0]).view(3, 1, 1, 1)
    values = psnr.values(shown, psnr.reference([(shown, clean)]))
    assert values.tolist() == pytest.approx([20.0, 40.0, psnr.best], abs=1e-3)
    assert psnr(nn.Identity(), [(shown[:1], clean[:1]), (shown[1:], clean[1:])]) == pytest.approx(
        (20 + 40 + 100) / 3, abs=1e-3
    )


@pytest.mark.parametrize("targets", [torch.zeros(2).long(), [0.0, 1.0], torch.rand(3, 3, 4, 4)])
def test_targets_that_are_no_pictures(targets: Any) -> None:
    with pytest.raises(DataError, match="targets of"):
        psnr(nn.Identity(), [(torch.rand(2, 3, 4, 4), targets)])


def test_outputs_that_are_no_pictures_like_the_targets() -> None:
    with pytest.raises(DataError, match=r"outputs of shape \(2, 48\) are no pictures"):
        psnr(nn.Flatten(), [(torch.rand(2, 3, 4, 4),) * 2])
