"""Layers as people write them: classes with a forward of their own, and what computes like one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def padded_same(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Padded as TensorFlow does, which depends on the size."""
    height, width = (
        max((-(-n // s) - 1) * s + k - n, 0)
        for n, s, k in zip(x.shape[-2:], conv.stride, conv.kernel_size, strict=True)
    )
    return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


class Same(nn.Conv2d):
    """Pads by size, in a call."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(padded_same(x, self))


class PaddingChild(nn.Conv2d):
    """Pads unevenly, by a child; its stride is a list, as in the port of EfficientNet-Lite."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stride = list(self.stride)  # type: ignore[assignment]
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))

    def forward(self, x: Tensor) -> Tensor:
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return F.conv2d(self.pad(x), self.weight, self.bias, *geometry)


class EvenChild(PaddingChild):
    """Pads evenly: what a plain convolution does itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pad = nn.ZeroPad2d(1)


class Reflecting(nn.Conv2d):
    """Pads with the map's mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (1, 1, 1, 1), mode="reflect"))


class BySize(nn.Conv2d):
    """Hands a padding to the function that depends on the size."""

    def forward(self, x: Tensor) -> Tensor:
        padding = 1 if x.shape[-1] % 2 else 2
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Literal(nn.Conv2d):
    """Has another geometry than its attributes say."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, stride=2, padding=1, groups=self.groups)


class Activating(nn.Conv2d):
    """Activates afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(super().forward(x))


class Standardised(nn.Conv2d):
    """Standardised weights with a gain, as of BiT and NFNet, padded by size."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.rand(self.out_channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(rows, None, None, self.gain / 5, training=True, momentum=0.0)
        x = padded_same(x, self)
        weight = weight.view_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Centred(nn.Conv2d):
    """Changes its weights in a step that torch's own forward calls."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight - weight.mean((1, 2, 3), keepdim=True), bias)


class Equalised(nn.Module):
    """StyleGAN's: no torch layer at all, a factor on the weights, its bias added afterwards."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.randn(outputs))
        self.factor, self.geometry = (inputs * kernel**2) ** -0.5, (stride, 1, 1, groups)

    def forward(self, x: Tensor) -> Tensor:
        maps = F.conv2d(x, self.weight * self.factor, None, *self.geometry)
        return maps + self.bias.view(1, -1, 1, 1)


class Cropping(nn.ConvTranspose2d):
    """Crops what it made."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(x)[..., 1:, 1:]


class Causal(nn.Conv1d):
    """Pads before the first sample alone."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, ((self.kernel_size[0] - 1) * self.dilation[0], 0)))


class Casting(nn.Linear):
    """Computes in float, whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.float(), self.weight.float(), self.bias).to(x.dtype)


class Adapted(nn.Linear):
    """A low-rank adapter beside a linear layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.down = nn.Parameter(torch.randn(2, inputs) / 4)
        self.up = nn.Parameter(torch.randn(outputs, 2) / 4)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0.5 * F.linear(F.linear(x, self.down), self.up)


class Turned(nn.Module):
    """GPT-2's: a product with the matrix the other way round."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) / 4)
        self.bias = nn.Parameter(torch.randn(outputs))

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return rows.view(*x.shape[:-1], -1)


class Bent(nn.Linear):
    """Is no linear map of its input: it rectifies before and bends afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x.relu()).tanh()


class FrozenNorm(nn.Module):
    """torchvision's and detectron's: a batch norm of buffers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, 1, 1)
        scale = self.weight.view(shape) * (self.running_var.view(shape) + 1e-5).rsqrt()
        return x * scale + (self.bias.view(shape) - self.running_mean.view(shape) * scale)


class FromOne(nn.BatchNorm2d):
    """Its weight is told from 1."""

    def forward(self, input: Tensor) -> Tensor:
        constants = (self.running_mean, self.running_var, self.weight + 1, self.bias)
        return F.batch_norm(input, *constants, eps=self.eps)


class Blur(nn.Module):
    """Thins out with a fixed filter, the same for all channels, as anti-aliased networks do."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", torch.outer(row, row).expand(channels, 1, 3, 3).clone())

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, self.kernel, stride=2, groups=x.shape[1])


class Gated(nn.Conv2d):
    """Weights that depend on what it is given: no layer."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * x.mean().sigmoid(), self.bias, self.stride, self.padding)


def maps_with(layer: Any, **options: Any) -> nn.Sequential:
    """A network with such a convolution of full width, a depthwise one, and one before a norm."""
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.ReLU(), layer(8, 12, 3, **options), nn.ReLU()),
        *(layer(12, 12, 3, groups=12, **options), nn.ReLU()),
        *(layer(12, 8, 3, **options), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)),
    )


def rows_with(layer: Any) -> nn.Sequential:
    """A network of linear layers with one such in the middle."""
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), layer(16, 8), nn.ReLU(), nn.Linear(8, 3))


def after_a_layer(*modules: nn.Module) -> nn.Sequential:
    """A network of two convolutions with modules between them."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), *modules, nn.ReLU(), nn.Conv2d(8, 4, 1))
