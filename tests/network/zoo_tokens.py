"""Small networks, second part: transformers, and what models do that no layer class tells."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import conv_norm


class Attention(nn.Module):
    """Fused query, key and value; the reshape names the head's size."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        weights = (query @ key.transpose(-2, -1) * self.size**-0.5).softmax(-1)
        return self.out((weights @ value).transpose(1, 2).reshape(batch, tokens, width))


class Transformer(nn.Module):
    """Two pre-norm blocks over patches, a class token and learned positions."""

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attention = Attention(width, 2)
            self.mlp = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 17, 16) * 0.1)
        self.blocks = nn.Sequential(self.Block(16), self.Block(16))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class Encoder(nn.Module):
    """torch's own encoder layers, one normalising after and one before."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.post = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.pre = nn.TransformerEncoderLayer(
            16, 2, 32, activation="gelu", batch_first=True, norm_first=True
        )
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.pre(self.post(x)).mean(1))


class SelfAttention(nn.Module):
    """nn.MultiheadAttention asked for its weights, then an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(12, 16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.attention(x, x, x)[0]
        return self.head((x + self.mlp(x)).mean(1))


class LayerScale(nn.Module):
    """ConvNeXt: depthwise 7x7, layer norm, MLP over channels laid last, a scale a channel."""

    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
            self.norm = nn.LayerNorm(channels)
            self.up, self.down = nn.Linear(channels, 24), nn.Linear(24, channels)
            self.scale = nn.Parameter(torch.rand(channels))

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
            y = self.scale * self.down(F.gelu(self.up(y)))
            return x + y.permute(0, 3, 1, 2)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 8, 4, 4), nn.Sequential(self.Block(8), self.Block(8))
        self.down, self.head = nn.Conv2d(8, 16, 2, 2), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.down(self.blocks(self.stem(x))).mean((2, 3)))


class Shared(nn.Module):
    """One convolution and its norm are used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.again = conv_norm(3, 8, 3, 2), conv_norm(8, 8, 3)
        self.inner, self.head = conv_norm(8, 12, 3), nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.again(F.relu(self.stem(x))))
        x = F.relu(self.inner(F.relu(self.again(x))))
        return self.head(x.mean((2, 3)))


class Functional(nn.Module):
    """A convolution and a linear map whose weights are plain parameters, between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.weight = conv_norm(3, 8, 3, 2), nn.Parameter(torch.randn(12, 8, 3, 3) / 8)
        self.after, self.map = conv_norm(12, 16, 3), nn.Parameter(torch.randn(10, 16) / 4)
        self.last = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(F.relu(self.stem(x)), self.weight, padding=1))
        x = F.relu(self.after(x)).mean((2, 3))
        return F.linear(F.relu(self.last(x)), self.map)


class SameConv(nn.Conv2d):
    """Pads as TensorFlow does, then convolves: a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = (
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, s, k in zip(x.shape[-2:], self.stride, self.kernel_size, strict=True)
        )
        x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, (0, 0), self.dilation, self.groups)


class NormAct(nn.BatchNorm2d):
    """A batch norm with its activation inside: a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False)
        return F.silu(y)


class Overridden(nn.Module):
    """Layers of classes derived from torch's own, as EfficientNet ports have."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm1 = SameConv(3, 8, 3, 2), NormAct(8)
        self.depthwise, self.norm2 = SameConv(8, 8, 3, 2, groups=8), NormAct(8)
        self.last, self.head = nn.Conv2d(8, 12, 1), nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm2(self.depthwise(self.norm1(self.stem(x))))
        return self.head(F.silu(self.last(x)).mean((2, 3)))


class Mixture(nn.Module):
    """PReLU with one slope a channel and with one for all, group norm, upsampling, two outputs."""

    def __init__(self, named: bool = True) -> None:
        super().__init__()
        self.stem, self.slopes = conv_norm(3, 8, 3, 2), nn.PReLU(8)
        self.middle, self.slope = conv_norm(8, 12, 3), nn.PReLU()
        self.normed, self.norm = nn.Conv2d(12, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.inner, self.mask = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1)
        self.head, self.named = nn.Linear(8, 10), named

    def forward(self, x: Tensor) -> dict[str, Tensor] | tuple[Tensor, Tensor]:
        x = self.slope(self.middle(self.slopes(self.stem(x))))
        x = F.relu(self.norm(self.normed(x)))
        masks = self.mask(F.interpolate(F.relu(self.inner(x)), scale_factor=2))
        logits = self.head(x.mean((2, 3)))
        return {"logits": logits, "masks": masks} if self.named else (logits, masks)


class Pixels(nn.Module):
    """Sub-pixel upsampling of two halves that gate each other, then a part written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up = conv_norm(3, 16, 3), nn.Conv2d(8, 32, 1)
        self.inner, self.side = nn.Conv2d(8, 12, 1), nn.Conv2d(12, 4, 1)
        self.out = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, dim=1)
        x = F.pixel_shuffle(F.relu(self.up(left * torch.sigmoid(right))), 2)
        canvas = x.new_zeros(x.shape[0], 8, *x.shape[2:])
        canvas[:, :4] = self.side(F.relu(self.inner(x)))
        return self.out(canvas)
