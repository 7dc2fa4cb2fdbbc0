"""Ten networks of different structure, half a millisecond to some milliseconds each on a CPU.

Made of the parts of tests/network/zoo.py at the sizes that people run; the weights are random,
because time does not depend on them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "network"))

from zoo import Basic, Bottleneck, Dense, Inverted, ShuffleV2, conv_norm

from automl.example.model import network as example


class Classifier(nn.Module):
    """A body of maps, the mean over them, and a linear head."""

    def __init__(self, body: nn.Sequential, channels: int, classes: int = 10) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


def stem(channels: int, stride: int = 1) -> list[nn.Module]:
    """A 3x3 convolution of an image."""
    return [conv_norm(3, channels, 3, stride), nn.ReLU()]


def resnet56() -> nn.Module:
    """ResNet-56 for CIFAR-10 (He et al. 2015, section 4.2), shortcuts without weights."""
    blocks: list[nn.Module] = stem(16)
    before = 16
    for channels in (16, 32, 64):
        stride = channels // before
        blocks.append(Basic(before, channels, stride, padded=stride > 1))
        blocks += [Basic(channels, channels) for _ in range(8)]
        before = channels
    return Classifier(nn.Sequential(*blocks), before)


def resnet18(width: int = 64, classes: int = 1000) -> nn.Module:
    """ResNet-18 (He et al. 2015, table 1) with `width` channels in its first stage."""
    first: list[nn.Module] = [conv_norm(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    before = width
    for channels in (width, 2 * width, 4 * width, 8 * width):
        first += [Basic(before, channels, channels // before), Basic(channels, channels)]
        before = channels
    return Classifier(nn.Sequential(*first), before, classes)


def vgg() -> nn.Module:
    """A plain chain: pairs of 3x3 convolutions, max pools, two linear layers."""
    parts: list[nn.Module] = []
    before = 3
    for channels in (64, 128, 192, 256):
        for _ in range(2):
            parts += [conv_norm(before, channels, 3), nn.ReLU()]
            before = channels
        parts.append(nn.MaxPool2d(2))
    linear = (nn.Flatten(), nn.Linear(before * 4, 256), nn.ReLU(), nn.Linear(256, 10))
    return nn.Sequential(*parts, *linear)


def mobilenet() -> nn.Module:
    """Inverted residuals with 5x5 depthwise convolutions and squeeze-excite."""
    blocks: list[nn.Module] = stem(16, 2)
    before = 16
    for channels, count, first in ((16, 1, 1), (24, 2, 2), (40, 3, 2), (80, 3, 2)):
        for number in range(count):
            stride = first if number == 0 else 1
            blocks.append(Inverted.Block(before, 4 * before, channels, stride, nn.Hardsigmoid()))
            before = channels
    return Classifier(nn.Sequential(*blocks, conv_norm(before, 240, 1), nn.Hardswish()), 240)


def densenet() -> nn.Module:
    """Three dense blocks of six layers, growth 16, with transitions that halve."""
    channels, growth = 32, 16
    parts: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
    for stage in range(3):
        for _ in range(6):
            parts.append(Dense.Layer(channels, growth))
            channels += growth
        parts += [nn.BatchNorm2d(channels), nn.ReLU()]
        if stage < 2:
            parts += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
            channels //= 2
    return Classifier(nn.Sequential(*parts), channels)


class Mixed(nn.Module):
    """Towers of 1x1, 3x3, two 3x3 and a pool side by side (Szegedy et al. 2015, figure 5)."""

    def __init__(self, read: int, width: int) -> None:
        super().__init__()
        half = width // 2
        self.one = conv_norm(read, width, 1)
        self.three = nn.Sequential(conv_norm(read, half, 1), nn.ReLU(), conv_norm(half, width, 3))
        self.five = nn.Sequential(
            *(conv_norm(read, half, 1), nn.ReLU(), conv_norm(half, half, 3), nn.ReLU()),
            conv_norm(half, half, 3),
        )
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), conv_norm(read, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        towers = [self.one(x), self.three(x), self.five(x), self.pool(x)]
        return F.relu(torch.cat(towers, 1))


def inception() -> nn.Module:
    """Five such modules, a max pool between the second and the third."""
    parts: list[nn.Module] = stem(32, 2)
    before = 32
    for place, width in enumerate((32, 32, 64, 64, 64)):
        if place == 2:
            parts.append(nn.MaxPool2d(3, 2, 1))
        parts.append(Mixed(before, width))
        before = 3 * width
    return Classifier(nn.Sequential(*parts), before)


def shufflenet() -> nn.Module:
    """ShuffleNetV2 (Ma et al. 2018): splits, shuffles and depthwise convolutions."""
    parts: list[nn.Module] = [*stem(24, 2), nn.MaxPool2d(3, 2, 1)]
    before = 24
    for channels, units in ((96, 3), (192, 5), (384, 3)):
        parts.append(ShuffleV2.Down(before, channels))
        parts += [ShuffleV2.Unit(channels) for _ in range(units)]
        before = channels
    return Classifier(nn.Sequential(*parts, conv_norm(before, 512, 1), nn.ReLU()), 512)


def resnext() -> nn.Module:
    """Bottlenecks whose 3x3 convolutions have eight groups."""
    parts: list[nn.Module] = stem(32)
    before = 32
    for inner, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        parts.append(Bottleneck.Block(before, inner, 2 * inner, stride, groups=8))
        before = 2 * inner
    return Classifier(nn.Sequential(*parts), before)


def pair(read: int, write: int) -> nn.Sequential:
    """Two 3x3 convolutions."""
    return nn.Sequential(
        conv_norm(read, write, 3), nn.ReLU(), conv_norm(write, write, 3), nn.ReLU()
    )


class UNet(nn.Module):
    """Down three times, up with transposed convolutions, skips concatenated."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        self.down = nn.ModuleList(map(pair, [3, *widths[:-1]], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[-2::-1])
        self.merge = nn.ModuleList(pair(2 * w, w) for w in widths[-2::-1])
        self.out = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for level, down in enumerate(self.down):
            x = down(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat([up(x), skip], 1))
        return self.out(x)


@dataclass(frozen=True, slots=True)
class Entry:
    """How a network is made, and the shape of one input."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]


NETWORKS: dict[str, Entry] = {
    "resnet56": Entry(resnet56, (1, 3, 32, 32)),
    "example": Entry(example, (1, 1, 28, 28)),
    "resnet18": Entry(lambda: resnet18(32, 10), (1, 3, 96, 96)),
    "vgg": Entry(vgg, (1, 3, 32, 32)),
    "mobilenet": Entry(mobilenet, (1, 3, 96, 96)),
    "densenet": Entry(densenet, (1, 3, 32, 32)),
    "inception": Entry(inception, (1, 3, 64, 64)),
    "shufflenet": Entry(shufflenet, (1, 3, 96, 96)),
    "resnext": Entry(resnext, (1, 3, 32, 32)),
    "unet": Entry(UNet, (1, 3, 64, 64)),
}


def build(name: str, seed: int = 0) -> nn.Module:
    """A network in eval mode, weights scaled so that no map fades to denormal numbers."""
    model = NETWORKS[name].make()
    return with_random_weights(model, seed)


def with_random_weights(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in eval mode with the initial weights of He et al. (2015)."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    return model.eval()
