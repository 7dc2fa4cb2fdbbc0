"""Images at another resolution."""

from __future__ import annotations

import torch
from torch.nn import functional as F

Tensor = torch.Tensor


def resized(images: Tensor, resolution: int) -> Tensor:
    """The images at another square resolution (bilinear, antialiased); unchanged where it fits."""
    if not resolution or images.dim() != 4 or images.shape[-1] == resolution:
        return images
    size = (resolution, resolution)
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
