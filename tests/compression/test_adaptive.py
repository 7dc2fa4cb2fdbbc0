"""Raw cuts with their norms re-estimated: the paper's networks, and no weight of them is fitted."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression.adaptive import AdaptiveNorms, norm_batches
from automl.compression.compressor import Compressor
from automl.compression.resizing import resized
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Policy

SHAPE = (1, 3, 12, 12)


class Net(nn.Module):
    """A stem, a residual block and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.wide, self.wide_norm = nn.Conv2d(8, 12, 1), nn.BatchNorm2d(12)
        self.back, self.back_norm = nn.Conv2d(12, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(x)))
        y = F.relu(self.wide_norm(self.wide(x)))
        return self.head(F.relu(x + self.back_norm(self.back(y))).mean((2, 3)))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(96, *SHAPE[1:], generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def dense(images: Tensor) -> nn.Module:
    """Its norms have seen the images, and scale what they write unevenly."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.3, 2.0)
                nn.init.uniform_(module.bias, -1.0, 1.0)
    return _re_estimated(model, images)


def _re_estimated(model: nn.Module, images: Tensor) -> nn.Module:
    """With the statistics of batches of 64, means over them: by torch's own norms."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    model.train()
    with torch.no_grad():
        for batch in images.split(64):
            model(batch)
    return model.eval()


@pytest.fixture(scope="module")
def traced(dense: nn.Module) -> TracedModel:
    return trace_network(dense, SHAPE, resolutions=(8,))


@pytest.fixture(scope="module")
def adaptive(traced: TracedModel, images: Tensor) -> AdaptiveNorms:
    counts = {group.name: (*range(1, group.channels + 1),) for group in traced.network.groups}
    return AdaptiveNorms(Compressor(traced, images, counts), counts)


def test_where_nothing_is_cut_it_is_the_dense_network(
    adaptive: AdaptiveNorms, dense: nn.Module, images: Tensor
) -> None:
    torch.testing.assert_close(adaptive(Policy())(images), dense(images), rtol=0, atol=0.01)


def test_it_is_the_papers_network(
    adaptive: AdaptiveNorms, traced: TracedModel, dense: nn.Module, images: Tensor
) -> None:
    """Cut by hand: filters of the largest L1 norm, scale and shift kept, statistics taken again."""
    filters: Any = traced.model.get_submodule("wide").weight
    kept = filters.detach().abs().sum((1, 2, 3)).topk(7).indices.sort().values
    net: Any = copy.deepcopy(dense)
    for layer in (net.wide, net.wide_norm):
        for name, value in (*layer.named_parameters(), *layer.named_buffers()):
            if value.dim():
                setattr(layer, name, _like(value, value.detach()[kept]))
    net.back.weight = nn.Parameter(net.back.weight.detach()[:, kept])
    raw = copy.deepcopy(net)(images)
    expected = _re_estimated(net, images)(images)
    found = adaptive(Policy({"wide": 7}))(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01)
    assert (found - raw).abs().max() > 0.1  # where its statistics are the dense network's


def _like(before: Tensor, value: Tensor) -> Tensor:
    return nn.Parameter(value) if isinstance(before, nn.Parameter) else value


def test_norms_write_what_the_dense_ones_do_also_of_other_inputs(
    adaptive: AdaptiveNorms, traced: TracedModel, images: Tensor
) -> None:
    made = adaptive(Policy({"stem": 5}, resolution=8))
    before = traced.model.get_submodule("stem")
    kept: Any = made.get_submodule("stem")
    filters: Any = before.weight
    stays = [_nearest(filters, each) for each in kept.weight]
    with torch.no_grad():
        dense = before(images).transpose(0, 1).flatten(1)[stays]
        found = kept(resized(images, 8)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(found.mean(1), dense.mean(1), rtol=0, atol=0.05)
    torch.testing.assert_close(found.std(1), dense.std(1), rtol=0.05, atol=0)


def _nearest(filters: Tensor, one: Tensor) -> int:
    """The filter that points where this one does."""
    return int(F.cosine_similarity(filters.flatten(1), one.flatten()[None]).argmax())


def test_the_same_policy_gives_the_same_network(adaptive: AdaptiveNorms) -> None:
    first, second = (adaptive(Policy({"stem": 4, "wide": 5})).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize(("size", "most"), [(32, 64), (96, 37), (224, 16), (640, 16)])
def test_large_pictures_come_in_smaller_batches(size: int, most: int) -> None:
    images = torch.zeros(1, 3, 1, 1).expand(100, 3, size, size)
    batches = norm_batches(images)
    assert max(map(len, batches)) == most
    assert sum(map(len, batches)) == 100
