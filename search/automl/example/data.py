"""Images of Fashion-MNIST that are shipped with the package: calibration, validation and test.

Fashion-MNIST: Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747; MIT licence, (c) 2017 Zalando SE.
Calibration and validation come from its training set but were held out of the training of
`automl.example.model`, so that scores on them are not those of images seen before. Test is the
start of its test set.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: uint8 images [n, 28, 28] and uint8 labels [n] of each part, int32 places of the held-out parts
#: in the training set; written by `search/recipes/train_example.py`.
IMAGES = Path(__file__).with_name("images.npz")
PARTS = ("calibration", "validation", "test")
BATCH = 250
#: Mean and standard deviation of the training set's pixels, in units of full white.
MEAN, DEVIATION = 0.2860, 0.3530


@dataclass(frozen=True, slots=True)
class ShuffledBatches:
    """Batches of (input, target) that can be iterated over again and again, always in one order.

    Attributes:
        inputs: float32 [n, 1, 28, 28], normalised.
        targets: int64 [n], 0 to 9.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.targets) // BATCH)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of at most `BATCH` images."""
        return zip(torch.split(self.inputs, BATCH), torch.split(self.targets, BATCH), strict=True)


def normalise(images: NDArray[np.uint8] | Tensor) -> Tensor:
    """Images uint8 [n, h, w] as the network wants them: float32 [n, 1, h, w]."""
    pixels = torch.as_tensor(images).to(torch.float32)
    return pixels.div_(255).sub_(MEAN).div_(DEVIATION).unsqueeze(1)


@functools.cache
def loaders() -> tuple[ShuffledBatches, ShuffledBatches, ShuffledBatches]:
    """Calibration (1,000 images), validation (2,000) and test (3,000); decoded once a process."""
    with np.load(IMAGES, allow_pickle=False) as packed:
        calibration, validation, test = (
            ShuffledBatches(
                normalise(packed[f"{part}_images"]),
                torch.from_numpy(packed[f"{part}_labels"].astype(np.int64)),
            )
            for part in PARTS
        )
    return calibration, validation, test
