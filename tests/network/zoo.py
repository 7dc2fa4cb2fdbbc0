"""Small networks with the structures that people's models are made of; random weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv_norm(
    read: int, write: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution without bias, padded to keep the size, and its batch norm."""
    conv = nn.Conv2d(read, write, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(write))


class Chain(nn.Module):
    """VGG: convolutions and pools, a flatten of 2x2 maps, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 12, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2)),
        )
        self.hidden = nn.Linear(48, 20)
        self.head = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(self.features(x), 1)
        return self.head(F.relu(self.hidden(x)))


class Basic(nn.Module):
    """Two 3x3 convolutions around a shortcut that is the identity, a projection, or padded."""

    def __init__(self, read: int, write: int, stride: int = 1, padded: bool = False) -> None:
        super().__init__()
        self.first = conv_norm(read, write, 3, stride)
        self.second = conv_norm(write, write, 3)
        self.stride, self.extra = stride, (write - read) // 2 if padded else 0
        fits = read == write and stride == 1
        self.shortcut = nn.Identity() if fits or padded else conv_norm(read, write, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x)))
        if self.extra:
            step = self.stride
            x = F.pad(x[:, :, ::step, ::step], (0, 0, 0, 0, self.extra, self.extra))
        return F.relu(y + self.shortcut(x))


class Residual(nn.Module):
    """A stem, two stages of basic blocks, global pooling and a head."""

    def __init__(self, padded: bool = False) -> None:
        super().__init__()
        self.stem = conv_norm(3, 8, 3)
        self.stage1 = nn.Sequential(Basic(8, 8), Basic(8, 8))
        self.stage2 = nn.Sequential(Basic(8, 16, 2, padded), Basic(16, 16))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage2(self.stage1(F.relu(self.stem(x))))
        return self.head(x.mean((2, 3)))


class PreActivation(nn.Module):
    """Batch norm and ReLU before each convolution (He et al., 2016)."""

    class Block(nn.Module):
        def __init__(self, read: int, write: int, stride: int) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.BatchNorm2d(read), nn.BatchNorm2d(write)
            self.conv1 = nn.Conv2d(read, write, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(write, write, 3, 1, 1, bias=False)
            self.project = nn.Conv2d(read, write, 1, stride, bias=False) if stride > 1 else None

        def forward(self, x: Tensor) -> Tensor:
            y = F.relu(self.norm1(x))
            x = self.project(y) if self.project is not None else x
            return x + self.conv2(F.relu(self.norm2(self.conv1(y))))

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(
            self.Block(8, 8, 1), self.Block(8, 16, 2), self.Block(16, 16, 1)
        )
        self.norm = nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.blocks(self.stem(x))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with an expansion of 4; `groups` > 1 makes it a ResNeXt block."""

    class Block(nn.Module):
        def __init__(self, read: int, inner: int, write: int, stride: int, groups: int) -> None:
            super().__init__()
            self.reduce = conv_norm(read, inner, 1)
            self.spatial = conv_norm(inner, inner, 3, stride, groups)
            self.expand = conv_norm(inner, write, 1)
            same = read == write and stride == 1
            self.shortcut = nn.Sequential() if same else conv_norm(read, write, 1, stride)

        def forward(self, x: Tensor) -> Tensor:
            y = F.relu(self.spatial(F.relu(self.reduce(x))))
            return F.relu(self.expand(y) + self.shortcut(x))

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.stem = conv_norm(3, 8, 3, 2)
        self.blocks = nn.Sequential(
            self.Block(8, 8, 16, 1, groups),
            self.Block(16, 8, 16, 1, groups),
            self.Block(16, 16, 32, 2, groups),
        )
        self.pool, self.head = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1)
        return self.head(torch.flatten(self.pool(self.blocks(x)), 1))


class SqueezeExcite(nn.Module):
    """One gate a channel from the pooled map."""

    def __init__(self, channels: int, inner: int, gate: nn.Module) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))
        return x * self.gate(self.expand(y))


class Inverted(nn.Module):
    """MobileNetV3: expand, depthwise, squeeze-excite, project."""

    class Block(nn.Module):
        def __init__(self, read: int, inner: int, write: int, stride: int, gate: nn.Module) -> None:
            super().__init__()
            self.expand = conv_norm(read, inner, 1)
            self.depthwise = conv_norm(inner, inner, 5, stride, inner)
            self.squeeze = SqueezeExcite(inner, 8, gate)
            self.project = conv_norm(inner, write, 1)
            self.act, self.skip = nn.Hardswish(), read == write and stride == 1

        def forward(self, x: Tensor) -> Tensor:
            y = self.act(self.depthwise(self.act(self.expand(x))))
            y = self.project(self.squeeze(y))
            return x + y if self.skip else y

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 8, 3, 2)
        self.blocks = nn.Sequential(
            self.Block(8, 16, 8, 1, nn.Hardsigmoid()),
            self.Block(8, 24, 12, 2, nn.Sigmoid()),
            self.Block(12, 24, 12, 1, nn.Hardsigmoid()),
        )
        self.last, self.head = conv_norm(12, 32, 1), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.last(self.blocks(F.hardswish(self.stem(x)))))
        return self.head(x.mean((2, 3)))


class Dense(nn.Module):
    """DenseNet: each layer reads all maps before it; a transition between two such blocks."""

    class Layer(nn.Module):
        def __init__(self, read: int, growth: int) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.BatchNorm2d(read), nn.BatchNorm2d(2 * growth)
            self.conv1 = nn.Conv2d(read, 2 * growth, 1, bias=False)
            self.conv2 = nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
            return torch.cat([x, y], 1)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.block1 = nn.Sequential(self.Layer(8, 4), self.Layer(12, 4))
        self.norm1, self.transition = nn.BatchNorm2d(16), nn.Conv2d(16, 8, 1, bias=False)
        self.block2 = nn.Sequential(self.Layer(8, 4), self.Layer(12, 4))
        self.norm2, self.head = nn.BatchNorm2d(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.transition(F.relu(self.norm1(self.block1(self.stem(x)))))
        x = F.relu(self.norm2(self.block2(F.avg_pool2d(x, 2))))
        return self.head(F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


class Inception(nn.Module):
    """Three towers side by side, twice."""

    class Mixed(nn.Module):
        def __init__(self, read: int) -> None:
            super().__init__()
            self.one = conv_norm(read, 8, 1)
            self.three = nn.Sequential(conv_norm(read, 6, 1), nn.ReLU(), conv_norm(6, 8, 3))
            self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), conv_norm(read, 4, 1))

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(torch.cat([self.one(x), self.three(x), self.pool(x)], 1))

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mixed1, self.mixed2 = conv_norm(3, 8, 3, 2), self.Mixed(8), self.Mixed(20)
        self.head = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mixed2(self.mixed1(F.relu(self.stem(x))))
        return self.head(x.mean((-2, -1)))


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel shuffle of ShuffleNet, sizes read from the map."""
    batch, channels, height, width = x.shape
    x = x.view(batch, groups, channels // groups, height, width)
    return x.transpose(1, 2).contiguous().view(batch, channels, height, width)


class ShuffleV1(nn.Module):
    """Grouped 1x1 convolutions with a channel shuffle between them."""

    class Block(nn.Module):
        def __init__(self, channels: int, inner: int) -> None:
            super().__init__()
            self.reduce = conv_norm(channels, inner, 1, groups=2)
            self.depthwise = conv_norm(inner, inner, 3, groups=inner)
            self.expand = conv_norm(inner, channels, 1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            y = shuffle(F.relu(self.reduce(x)), 2)
            return F.relu(x + self.expand(self.depthwise(y)))

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 16, 3, 2)
        self.blocks = nn.Sequential(self.Block(16, 8), self.Block(16, 8))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


class ShuffleV2(nn.Module):
    """Half of the channels go around, then both halves are shuffled."""

    class Unit(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            half = channels // 2
            self.first, self.last = conv_norm(half, half, 1), conv_norm(half, half, 1)
            self.depthwise = conv_norm(half, half, 3, groups=half)

        def forward(self, x: Tensor) -> Tensor:
            left, right = x.chunk(2, dim=1)
            right = F.relu(self.last(self.depthwise(F.relu(self.first(right)))))
            return shuffle(torch.cat([left, right], 1), 2)

    class Down(nn.Module):
        def __init__(self, read: int, write: int) -> None:
            super().__init__()
            half = write // 2
            self.left = nn.Sequential(conv_norm(read, read, 3, 2, read), conv_norm(read, half, 1))
            self.first, self.last = conv_norm(read, half, 1), conv_norm(half, half, 1)
            self.depthwise = conv_norm(half, half, 3, 2, half)

        def forward(self, x: Tensor) -> Tensor:
            right = self.depthwise(F.relu(self.first(x)))
            both = torch.cat([F.relu(self.left(x)), F.relu(self.last(right))], 1)
            return shuffle(both, 2)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = conv_norm(3, 8, 3, 2), self.Down(8, 16)
        self.units, self.last = nn.Sequential(self.Unit(16), self.Unit(16)), conv_norm(16, 24, 1)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.last(self.units(self.down(F.relu(self.stem(x))))))
        return self.head(x.mean((2, 3)))


class GhostAttention(nn.Module):
    """GhostNetV2: half of the maps made of the others by a depthwise layer, all times a gate.

    The gate is made of a map at half size (its DFC attention), and laid over the whole one.

    Args:
        width: Of what the first module writes; of an odd one the last cheap map is sliced off.
    """

    class Module(nn.Module):
        def __init__(self, read: int, write: int) -> None:
            super().__init__()
            half = (write + 1) // 2
            self.write, self.primary = write, conv_norm(read, half, 1)
            self.cheap = conv_norm(half, half, 3, groups=half)
            along = nn.Conv2d(write, write, (1, 5), padding=(0, 2), groups=write, bias=False)
            down = nn.Conv2d(write, write, (5, 1), padding=(2, 0), groups=write, bias=False)
            self.gate = nn.Sequential(
                conv_norm(read, write, 1),
                *(along, nn.BatchNorm2d(write), down, nn.BatchNorm2d(write)),
            )

        def forward(self, x: Tensor) -> Tensor:
            gate = torch.sigmoid(self.gate(F.avg_pool2d(x, 2, 2)))
            primary = F.relu(self.primary(x))
            both = torch.cat([primary, F.relu(self.cheap(primary))], 1)[:, : self.write]
            return both * F.interpolate(gate, size=both.shape[-2:], mode="nearest")

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem, self.first = conv_norm(3, 8, 3, 2), self.Module(8, width)
        self.down, self.second = conv_norm(width, width, 5, 2, width), self.Module(width, 12)
        self.last, self.head = conv_norm(12, 24, 1), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.down(self.first(F.relu(self.stem(x)))))
        return self.head(F.relu(self.last(x)).mean((2, 3)))


class UNet(nn.Module):
    """Down twice, up twice with transposed convolutions, skips laid side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = conv_norm(3, 8, 3), conv_norm(8, 12, 3)
        self.middle = conv_norm(12, 16, 3)
        self.up2, self.merge2 = nn.ConvTranspose2d(16, 12, 2, 2), conv_norm(24, 12, 3)
        self.up1 = nn.Sequential(
            nn.ConvTranspose2d(12, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.merge1, self.out = conv_norm(16, 8, 3), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = F.relu(self.down1(x))
        two = F.relu(self.down2(F.max_pool2d(one, 2)))
        y = F.relu(self.middle(F.max_pool2d(two, 2)))
        y = F.relu(self.merge2(torch.cat([self.up2(y), two], 1)))
        y = F.relu(self.merge1(torch.cat([self.up1(y), one], 1)))
        return self.out(y)


class Linears(nn.Module):
    """Linear layers only, on vectors of 20 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(20, 32), nn.BatchNorm1d(32)
        self.second, self.head = nn.Linear(32, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(F.relu(self.norm(self.first(x))))))
