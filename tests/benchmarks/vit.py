"""A small vision transformer (Dosovitskiy et al., ICLR 2021) for CIFAR-10, written as people do.

`train_vit.py` trains it. `trained` and `loaders` are for `--model` and `--data`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from cifar import SHARED, load_cifar, normalised
from torch import Tensor, nn
from torch.nn import functional as F

Batches = list[tuple[Tensor, Tensor]]
WEIGHTS = Path(__file__).resolve().parents[2] / "build" / "trained" / "vit.pt"
CLASSES, SIZE, PATCH = 10, 32, 4
WIDTH, HEADS, DEPTH = 128, 4, 6
#: Training images at the end that training does not see: candidates are scored on them.
HELD_OUT = 2_000
#: Training images, of those that training saw, that a search calibrates on.
CALIBRATION = 2_000


class Attention(nn.Module):
    """Self-attention over tokens [n, tokens, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens of the same shape."""
        n, tokens, width = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(n, tokens, width))


class Block(nn.Module):
    """Attention and a perceptron, normalised before each."""

    def __init__(self, width: int, heads: int, ratio: int = 2) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens of the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Input [n, 3, 32, 32]; output [n, 10] logits, read from the class token."""

    def __init__(self, width: int = WIDTH, heads: int = HEADS, depth: int = DEPTH) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + (SIZE // PATCH) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.classify(self.embed(images))

    def embed(self, images: Tensor) -> Tensor:
        """The class token and one of each patch, [n, 65, width]."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        whole = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], 1)
        return whole + self.positions

    def classify(self, tokens: Tensor) -> Tensor:
        """Logits, of any number of tokens, the class token first."""
        logits: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return logits


def trained() -> nn.Module:
    """The network with the weights that `train_vit.py` wrote."""
    model = ViT()
    model.load_state_dict(torch.load(WEIGHTS, map_location="cpu", weights_only=True))
    return model.eval()


def loaders() -> tuple[Batches, Batches, Batches]:
    """Images that training saw, others that it did not, and the test images."""
    data = load_cifar(SHARED)
    parts = (
        (data.train[:CALIBRATION], data.train_labels[:CALIBRATION]),
        (data.train[-HELD_OUT:], data.train_labels[-HELD_OUT:]),
        (data.test, data.test_labels),
    )
    calibration, validation, test = (
        list(zip(normalised(images).split(250), labels.split(250), strict=True))
        for images, labels in parts
    )
    return calibration, validation, test
