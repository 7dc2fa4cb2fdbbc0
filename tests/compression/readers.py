"""Matrices that read channels, and what least squares makes of them."""

from __future__ import annotations

import torch
from torch import Tensor

from automl.compression.importance.elimination import Reader

EXACT = 1e-9  # damping small enough to compare with the plain least squares


def made(channels: int, times: int, outputs: int, seed: int = 0) -> Reader:
    """A matrix that reads `times` correlated columns of each channel."""
    generator = torch.Generator().manual_seed(seed)
    extent = channels * times
    mixed = torch.randn(extent, extent, generator=generator)
    rows = torch.randn(400, extent, generator=generator) @ (mixed / 2 + torch.eye(extent)) + 0.3
    wide = torch.cat([rows, torch.ones(400, 1)], 1).double()
    weight = torch.randn(outputs, extent + 1, generator=generator)
    return Reader(weight, wide.T @ wide / 400, torch.arange(extent).view(channels, times))


def error(reader: Reader, weight: Tensor) -> float:
    """Relative output error of other weights."""
    moments, before = reader.moments, reader.weight.double()
    gap = weight.double() - before
    return float(((gap @ moments) * gap).sum() / ((before @ moments) * before).sum())


def solved(reader: Reader, gone: list[int]) -> Tensor:
    """The weights that are best without some channels, by least squares."""
    keep = torch.ones(reader.weight.shape[1], dtype=torch.bool)
    keep[reader.columns[gone].flatten()] = False
    moments, result = reader.moments, torch.zeros(reader.weight.shape, dtype=torch.float64)
    side = reader.weight.double() @ moments[:, keep]
    result[:, keep] = torch.linalg.solve(moments[keep][:, keep], side.T).T
    return result
