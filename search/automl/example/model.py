"""A residual network for 28x28 grey images, 10 classes, of basic, bottleneck and depthwise blocks.

Post-activation residual blocks (He et al. 2016, arXiv:1512.03385, section 3), with depthwise ones
as in MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) where maps are small and two dense 3x3
convolutions would cost the most weights. What differs from MobileNetV2: ReLU instead of ReLU6, and
a ReLU after the addition. All widths are multiples of 16. The head averages over whatever map is
left, so the network runs at other input sizes than 28x28 too.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

#: State dict of the trained network, written by `search/recipes/train_example.py`.
WEIGHTS = Path(__file__).with_name("weights.pt")


def convolution(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution that keeps the map's size at stride 1, and its batch norm."""
    return [
        nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(out_channels),
    ]


class Residual(nn.Module):
    """ReLU(body(x) + shortcut(x)); the shortcut is a 1x1 convolution where the shapes differ.

    Input [n, in_channels, h, w]; output [n, out_channels, h / stride, w / stride].
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(*convolution(in_channels, out_channels, 1, stride))
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """Maps of the block."""
        out: Tensor = self.relu(self.body(images) + self.shortcut(images))
        return out


def basic(in_channels: int, inner: int, out_channels: int, stride: int = 1) -> Residual:
    """A block of two 3x3 convolutions; the first one strides."""
    body = nn.Sequential(
        *convolution(in_channels, inner, 3, stride),
        nn.ReLU(),
        *convolution(inner, out_channels, 3),
    )
    return Residual(in_channels, out_channels, stride, body)


def depthwise(in_channels: int, inner: int, out_channels: int, stride: int = 1) -> Residual:
    """A block of 1x1, depthwise 3x3 and 1x1 convolutions; the depthwise one strides."""
    body = nn.Sequential(
        *convolution(in_channels, inner, 1),
        nn.ReLU(),
        *convolution(inner, inner, 3, stride, groups=inner),
        nn.ReLU(),
        *convolution(inner, out_channels, 1),
    )
    return Residual(in_channels, out_channels, stride, body)


def bottleneck(in_channels: int, inner: int, out_channels: int, stride: int = 1) -> Residual:
    """A block of 1x1, 3x3 and 1x1 convolutions; the 3x3 one strides."""
    body = nn.Sequential(
        *convolution(in_channels, inner, 1),
        nn.ReLU(),
        *convolution(inner, inner, 3, stride),
        nn.ReLU(),
        *convolution(inner, out_channels, 1),
    )
    return Residual(in_channels, out_channels, stride, body)


class ExampleNet(nn.Module):
    """Input [n, 1, 28, 28], normalised as in `automl.example.data`; output [n, 10] logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*convolution(1, 32, 3), nn.ReLU())
        self.stage1 = nn.Sequential(
            basic(32, 32, 32, stride=2), *(basic(32, 64, 32) for _ in range(3))
        )
        self.stage2 = nn.Sequential(
            bottleneck(32, 32, 64, stride=2), *(basic(64, 48, 64) for _ in range(2))
        )
        self.stage3 = nn.Sequential(
            depthwise(64, 128, 128), *(depthwise(128, 96, 128) for _ in range(2))
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the ten classes."""
        maps = self.stage3(self.stage2(self.stage1(self.stem(images))))
        logits: Tensor = self.classifier(self.pool(maps).flatten(1))
        return logits


def network() -> nn.Module:
    """The network with fresh weights, in training mode, to be named as the model."""
    return ExampleNet()


def pretrained() -> nn.Module:
    """The network with the shipped weights, in evaluation mode."""
    model = network()
    model.load_state_dict(torch.load(WEIGHTS, map_location="cpu", weights_only=True))
    return model.eval()
