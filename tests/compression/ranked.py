"""What the tests of importances share: a network's groups ranked, and statistics of it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.database import readers_of
from automl.compression.importance.registry import IMPORTANCES
from automl.compression.labelled import Labelled
from automl.network.layers import ChannelGroup
from automl.network.traced_model import trace_network


def compressor_for(
    model: nn.Module, images: Tensor, targets: Tensor | None = None, **config: object
) -> Compressor:
    """A compressor that ranks nothing by itself."""
    traced = trace_network(model.eval(), (1, *images.shape[1:]), resolutions=())
    shown = images if targets is None else Labelled(images, targets)
    return Compressor(traced, shown, {}, config=CompressionConfig(**config))  # type: ignore[arg-type]


def group_of(made: Compressor, name: str) -> ChannelGroup:
    """A group by its name."""
    return next(group for group in made.traced.network.groups if group.name == name)


def orders(importance: str, made: Compressor) -> Mapping[str, list[int]]:
    """Per group, its channels, the least important first."""
    ranked, result = IMPORTANCES.build(importance), {}
    for group in made.traced.network.groups:
        readers, _ = readers_of(made.traced.model, group, made.statistics.features)
        result[group.name] = ranked.order(group, readers, made.statistics).tolist()
    return result


def images_of(count: int, seed: int = 0, size: int = 6) -> Tensor:
    """Drawn pictures of three channels."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
