"""Crops of pictures with their noise: calibration, validation and test of the denoiser.

The pictures are in the public domain (README.md beside this file names them). Calibration crops
come from what the network was trained on. Those of validation and test come from pictures that it
was not shown, and no picture is in both.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from automl.example.data import PARTS, ShuffledBatches

#: uint8 crops [n, 64, 64, 3] of each part, each column but the first less the one to its left
#: (modulo 256), which compresses better; written by `search/recipes/train_denoiser.py`.
IMAGES: Final = Path(__file__).with_name("images.npz")
#: Standard deviation of the noise, in units of full white.
SIGMA: Final = 25 / 255

Pixels = NDArray[np.uint8]


def as_input(pixels: Pixels | Tensor) -> Tensor:
    """Pixels uint8 [n, h, w, 3] as the network wants them: float32 [n, 3, h, w], white 1."""
    return torch.as_tensor(pixels).permute(0, 3, 1, 2).to(torch.float32).div(255).contiguous()


def noisy(clean: Tensor, noise: Tensor) -> Tensor:
    """What a camera would see: noise of unit variance added, clipped, rounded to 8 bits."""
    return clean.add(noise, alpha=SIGMA).clamp_(0, 1).mul_(255).round_().div_(255)


def pack(pixels: Pixels) -> Pixels:
    """Columns as differences."""
    return np.diff(pixels, axis=2, prepend=np.zeros_like(pixels[:, :, :1]))


def unpack(packed: Pixels) -> Pixels:
    """Pixels of what `pack` gave."""
    return np.cumsum(packed, axis=2, dtype=np.uint8)


@functools.cache
def loaders() -> tuple[ShuffledBatches, ShuffledBatches, ShuffledBatches]:
    """Calibration, validation and test: (noisy crops, clean crops), decoded once a process."""
    with np.load(IMAGES, allow_pickle=False) as packed:
        calibration, validation, test = (
            with_noise(as_input(unpack(packed[part])), seed) for seed, part in enumerate(PARTS)
        )
    return calibration, validation, test


def with_noise(clean: Tensor, seed: int) -> ShuffledBatches:
    """Clean crops [n, 3, h, w] with noise of a seed, the same on every machine."""
    # of numpy's generators the one whose numbers no later version may change
    noise = np.random.RandomState(seed).standard_normal(tuple(clean.shape))
    return ShuffledBatches(noisy(clean, torch.from_numpy(noise.astype(np.float32))), clean)
