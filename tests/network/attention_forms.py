"""Attention as people write it, each between an embedding and a head."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHAPE = (1, 5, 8)


class Separate(nn.Module):
    """Queries, keys and values by a layer each, in heads by a view, products written out."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.heads, self.size = heads, width // heads

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = (
            layer(x).reshape(batch, tokens, self.heads, self.size).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        weights = (q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))).softmax(-1)
        return self.o((weights @ v).transpose(1, 2).reshape(batch, tokens, -1))


class Scaled(Separate):
    """torch's function, the head's width named alone."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).view(*x.shape[:2], -1, self.size).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        return self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Fused(nn.Module):
    """One layer for all three; what is left is named as the width that went in."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.qkv, self.o = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        return self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))


class Chunked(Fused):
    """One layer for all three, taken apart before it is in heads, these folded into the batch."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = (
            each.view(b, n, self.heads, c // self.heads).transpose(1, 2).flatten(0, 1)
            for each in self.qkv(x).split(c, dim=2)
        )
        weights = torch.bmm(q * (c // self.heads) ** -0.5, k.transpose(1, 2)).softmax(-1)
        mixed = torch.bmm(weights, v).view(b, self.heads, n, c // self.heads)
        return self.o(mixed.transpose(1, 2).reshape(b, n, c))


class Normed(Separate):
    """Queries and keys normalised head by head, a bias of each head added to the scores."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__(width, heads)
        self.q_norm, self.k_norm = nn.LayerNorm(self.size), nn.LayerNorm(self.size)
        self.bias = nn.Parameter(torch.randn(heads, 5, 5))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, self.size)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        weights = self.q_norm(q) @ self.k_norm(k).transpose(-2, -1) * self.size**-0.5 + self.bias
        return self.o((weights.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Single(Separate):
    """One head, in no view."""

    def forward(self, x: Tensor) -> Tensor:
        scores = self.q(x) @ self.k(x).transpose(1, 2)
        return self.o((scores * 32**-0.5).softmax(-1) @ self.v(x))


class Torch(nn.Module):
    """torch's own, with or without its weights asked for."""

    def __init__(self, weights: bool = False) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, batch_first=not weights)
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1) if self.weights else x
        found = self.attention(x, x, x, need_weights=self.weights)[0]
        return found.transpose(0, 1) if self.weights else found


class Between(nn.Module):
    """An attention with its shortcut, an embedding before it and a head after."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(8, 32), nn.LayerNorm(32)
        self.attention, self.head = attention, nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.head((x + self.attention(self.norm(x))).mean(1))


FORMS: dict[str, Callable[[], nn.Module]] = {
    "separate": Separate,
    "scaled": Scaled,
    "fused": Fused,
    "chunked": Chunked,
    "normed": Normed,
    "single": Single,
    "torch": Torch,
    "torch, weights": lambda: Torch(weights=True),
}


def build(name: str) -> nn.Module:
    """A network with an attention of that form."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Between(FORMS[name]()).eval()
