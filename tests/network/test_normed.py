"""Networks with their norms are cut as those without, and norms take their statistics again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.normed import re_estimate_norms, smaller_with_norms
from automl.network.surgery import smaller
from automl.network.traced_model import TracedModel, trace_network
from automl.network.unfold import norms_behind, with_norms, without_norms

SHAPE = (1, 3, 8, 8)


class Net(nn.Module):
    """A convolution and a depthwise one with norms, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.deep, self.deep_norm = nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        return self.head(F.relu(self.deep_norm(self.deep(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return trace_network(Net().eval(), SHAPE, resolutions=())


def images() -> Tensor:
    return torch.randn(32, *SHAPE[1:], generator=torch.Generator().manual_seed(1))


def test_it_is_cut_as_the_folded_one(traced: TracedModel) -> None:
    kept, groups = {"stem": torch.tensor([1, 4, 6])}, traced.network.groups
    student = with_norms(traced.model, [images()])
    norms = norms_behind(student, torch.zeros(SHAPE))
    small: Any = smaller_with_norms(student, norms, groups, kept)
    assert small.norm.num_features == small.deep_norm.num_features == 3
    folded = smaller(traced.model, groups, kept)
    torch.testing.assert_close(small.eval()(images()), folded(images()), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(without_norms(student)(images()), traced.model(images()))


def test_statistics_are_means_over_batches(traced: TracedModel) -> None:
    student: Any = with_norms(traced.model, [images()])
    parts = [images()[:16] + 2, images()[16:]]
    re_estimate_norms(student, parts)
    with torch.no_grad():
        means = [student.stem(part).mean((0, 2, 3)) for part in parts]
        spreads = [student.stem(part).var((0, 2, 3)) for part in parts]
    torch.testing.assert_close(student.norm.running_mean, torch.stack(means).mean(0))
    torch.testing.assert_close(student.norm.running_var, torch.stack(spreads).mean(0))
    assert not student.training
    assert student.norm.momentum == 0.1
