"""The flowers photos of the shared folder, and a small residual network for them.

The train split is parted once: what training sees, what a search scores on (never trained on). The
val split is the test data of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from cifar import normalised, shared_module
from torch import Tensor, nn
from torch.nn import functional as F

from automl.example.model import basic, convolution

#: Input sizes that the network is trained at and may run at, the dense one last.
SIZES = (48, 56, 64, 72, 80, 88, 96)
CLASSES = 5
#: Images of the train split that training does not see.
HELD_OUT = 500


@dataclass(frozen=True, slots=True)
class Flowers:
    """Images uint8 [n, 160, 160, 3] with labels."""

    train: Tensor
    train_labels: Tensor
    held_out: Tensor
    held_out_labels: Tensor
    test: Tensor
    test_labels: Tensor


class FlowersNet(nn.Module):
    """Input [n, 3, h, w]; output [n, 5] logits. Two of the three blocks a stage can be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*convolution(3, 16, 3, 2), nn.ReLU())
        self.stage1 = nn.Sequential(basic(16, 16, 16, 2), *(basic(16, 24, 16) for _ in range(2)))
        self.stage2 = nn.Sequential(basic(16, 32, 32, 2), *(basic(32, 40, 32) for _ in range(2)))
        self.stage3 = nn.Sequential(basic(32, 64, 64, 2), *(basic(64, 80, 64) for _ in range(2)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(64, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        maps = self.stage3(self.stage2(self.stage1(self.stem(images))))
        logits: Tensor = self.classifier(self.pool(maps).flatten(1))
        return logits


def load_flowers(shared: Path) -> Flowers:
    """All photos, the train split parted by a fixed seed."""
    reader = shared_module(shared / "data" / "load.py")
    images, labels = map(torch.from_numpy, reader.flowers("train"))
    test, test_labels = map(torch.from_numpy, reader.flowers("val"))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    held, seen = order[:HELD_OUT], order[HELD_OUT:]
    return Flowers(images[seen], labels[seen], images[held], labels[held], test, test_labels)


def network_inputs(images: Tensor, size: int = SIZES[-1]) -> Tensor:
    """Bytes [n, 160, 160, 3] as float [n, 3, size, size]."""
    wanted = (size, size)
    return F.interpolate(
        normalised(images), wanted, mode="bilinear", antialias=True, align_corners=False
    )


def load_network(weights: Path) -> nn.Module:
    """The network with the weights that `train_flowers.py` wrote, in evaluation mode."""
    model = FlowersNet()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()
