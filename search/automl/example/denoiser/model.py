"""A denoiser of colour frames: residual blocks at half the resolution, and the noise subtracted.

The frame's pixels are laid out in four times as many channels at half the size (FFDNet: Zhang, Zuo,
Zhang 2018, arXiv:1710.04026, section III), and what the network puts out is the noise (DnCNN: Zhang
et al. 2017, arXiv:1608.03981, section III). What differs from both: residual blocks without batch
norms (EDSR: Lim et al. 2017, arXiv:1707.02921, section 3.1), and one noise level. All layers are
convolutions that keep the map's size, so that frames of any even height and width can be shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

#: State dict of the trained network in fp16, written by `search/recipes/train_denoiser.py`.
WEIGHTS: Final = Path(__file__).with_name("weights.pt")
#: Channels of the maps, and blocks that work on them.
WIDTH: Final = 32
BLOCKS: Final = 16


class DenoisingBlock(nn.Module):
    """maps + body(maps): two 3x3 convolutions with a ReLU between; [n, c, h, w] in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the block."""
        out: Tensor = maps + self.body(maps)
        return out


class Denoiser(nn.Module):
    """Input [n, 3, h, w], noisy, black 0 and white 1, h and w even; output of the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, WIDTH, 3, padding=1))
        self.body = nn.Sequential(*(DenoisingBlock(WIDTH) for _ in range(BLOCKS)))
        self.tail = nn.Sequential(nn.Conv2d(WIDTH, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, frames: Tensor) -> Tensor:
        """The frames without their noise."""
        noise: Tensor = self.tail(self.body(self.head(frames)))
        return frames - noise


def network() -> nn.Module:
    """The network with fresh weights, in training mode."""
    return Denoiser()


def pretrained() -> nn.Module:
    """The network with the shipped weights, as floats, in evaluation mode."""
    model = network()
    model.load_state_dict(torch.load(WEIGHTS, map_location="cpu", weights_only=True))
    return model.eval()
