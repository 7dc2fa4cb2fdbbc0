"""Images at another resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

Tensor = torch.Tensor


def resized(images: Tensor, resolution: int) -> Tensor:
    """The images at another square resolution (bilinear, antialiased); unchanged where it fits."""
    if not resolution or images.dim() != 4 or images.shape[-1] == resolution:
        return images
    size = (resolution, resolution)
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


def tiled(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Each image repeated along its dimensions until it fills `shape` (batch first), and cut."""
    wanted = tuple(shape[1:])
    if images.shape[1:] == wanted:
        return images
    times = [-(-extent // own) for extent, own in zip(wanted, images.shape[1:], strict=True)]
    return images.repeat(1, *times)[(slice(None), *(slice(extent) for extent in wanted))]
