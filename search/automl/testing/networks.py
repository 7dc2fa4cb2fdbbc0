"""A small network with drawn weights and inputs, which methods of compression are tried on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from automl.compression import CompressionConfig, Compressor, Labelled
from automl.network import TracedModel, trace_network

Tensor = torch.Tensor
SHAPE = (1, 3, 8, 8)


class SmallNetwork(nn.Module):
    """A stem, a residual block, a convolution and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.inner, self.outer = nn.Conv2d(12, 16, 3, padding=1), nn.Conv2d(16, 12, 1)
        self.last, self.head = nn.Conv2d(12, 10, 3, stride=2), nn.Linear(10, 5)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        found = F.relu(self.stem(images))
        found = F.relu(found + self.outer(F.relu(self.inner(found))))
        logits: Tensor = self.head(F.relu(self.last(found)).mean((2, 3)))
        return logits


def made_network(seed: int = 0) -> TracedModel:
    """The network, drawn from a seed, traced; its groups can keep any number of channels."""
    return trace_network(drawn(SmallNetwork, seed).eval(), SHAPE, resolutions=())


def drawn(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A module with weights drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def made_images(count: int = 48, seed: int = 0) -> Tensor:
    """Drawn inputs of the network, neighbouring pixels alike."""
    drawn = torch.randn((count, 3, 4, 4), generator=torch.Generator().manual_seed(seed))
    return F.interpolate(drawn, size=SHAPE[2:], mode="bilinear", align_corners=False)


def made_compressor(
    config: CompressionConfig, seed: int = 0, scheme: str | None = None
) -> Compressor:
    """A compressor of the network that knows every count, and which class each image is."""
    return compressor_of(made_network(seed), config, seed, scheme)


def compressor_of(
    traced: TracedModel, config: CompressionConfig, seed: int = 0, scheme: str | None = None
) -> Compressor:
    """A compressor of any network of such images that knows every count.

    An image's class is the one of its largest logit.
    """
    counts = {group.name: tuple(range(1, group.channels + 1)) for group in traced.network.groups}
    images = made_images(seed=seed)
    with torch.no_grad():
        labelled = Labelled(images, traced.model(images).argmax(1))
    return Compressor(traced, labelled, counts, config=config, scheme=scheme)


def loss(compressor: Compressor, model: nn.Module, images: Tensor | None = None) -> float:
    """Mean squared difference of logits from the dense ones, relative to their variance.

    On images that the compressor has not seen where none are given.
    """
    images = made_images(64, seed=1000) if images is None else images
    with torch.no_grad():
        dense, found = compressor.traced.model(images), model(images)
    return float((found - dense).square().mean() / dense.var(0).mean())
