"""Scales of batch norms as they were before folding."""

from __future__ import annotations

import torch
from filters import Chain
from ranked import compressor_for, images_of, orders
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression import CompressionConfig, Compressor
from automl.network import trace_network
from automl.testing.importances import ImportanceContract
from automl.testing.networks import SHAPE, compressor_of, drawn


def test_the_smallest_scale_goes_first_whatever_the_filters_are() -> None:
    filters = [[1.0, 0.0, 0.0], [9.0, 9.0, 9.0], [3.0, 0.0, 2.0], [5.0, 5.0, 5.0]]
    made = compressor_for(Chain(filters, scales=[0.8, 0.1, -0.5, 0.3]), images_of(4))
    assert isinstance(made.traced.model.get_submodule("norm"), nn.Identity)
    (scales,) = made.statistics.norm_scales(made.traced.network.groups[0])
    torch.testing.assert_close(scales, torch.tensor([0.8, 0.1, 0.5, 0.3]))
    assert orders("bn-scale", made)["conv"] == [1, 3, 2, 0]


class Normed(nn.Module):
    """Norms that are folded and one that cannot be: it stands before its convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.before, self.inner = nn.BatchNorm2d(12), nn.Conv2d(12, 16, 3, padding=1, bias=False)
        self.norm, self.outer = nn.BatchNorm2d(16), nn.Conv2d(16, 12, 1)
        self.last, self.end = nn.Conv2d(12, 10, 3, bias=False), nn.BatchNorm2d(10)
        self.head = nn.Linear(10, 5)
        generator = torch.Generator().manual_seed(0)
        for norm in (self.before, self.norm, self.end):
            with torch.no_grad():
                norm.weight.uniform_(0.2, 1.5, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.outer(F.relu(self.norm(self.inner(F.relu(self.before(x))))))
        logits: Tensor = self.head(F.relu(self.end(self.last(x))).mean((2, 3)))
        return logits


def test_norms_that_stand_alone_count_for_what_they_write() -> None:
    made = compressor_for(drawn(Normed, 0), images_of(4))
    by_name = orders("bn-scale", made)
    norms = {"stem": "before", "inner": "norm", "last": "end"}
    model = drawn(Normed, 0)
    for group, norm in norms.items():
        scales = model.get_submodule(norm).weight.detach()  # type: ignore[operator, union-attr]
        assert by_name[group] == scales.argsort().tolist()


class TestBnScale(ImportanceContract):
    name = "bn-scale"
    beats_random = False  # scales that are drawn say nothing

    def compressor(self, seed: int = 0) -> Compressor:
        traced = trace_network(drawn(Normed, seed).eval(), SHAPE, resolutions=())
        return compressor_of(traced, CompressionConfig(), seed)
