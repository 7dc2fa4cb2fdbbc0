"""Rotary embeddings: pairs of channels within every head are turned together, and go together."""

from __future__ import annotations

import pytest
import torch
from exact import gap, scrambled, some
from torch import Tensor, nn

from automl.network.traced_model import trace_network

SHAPE = (1, 5, 8)


def halves(x: Tensor) -> Tensor:
    """As language models turn: the second half against the first."""
    one, other = x.chunk(2, dim=-1)
    return torch.cat((-other, one), dim=-1)


def sliced(x: Tensor) -> Tensor:
    """The same by slices."""
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


def neighbours(x: Tensor) -> Tensor:
    """As vision models turn: each odd channel against the even one before it."""
    return torch.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)


TURNS = {"halves": halves, "sliced": sliced, "neighbours": neighbours}


class Rotary(nn.Module):
    """Attention whose queries and keys are turned by angles that grow with the token's place."""

    def __init__(self, way: str, made: bool) -> None:
        super().__init__()
        self.way, self.heads, self.size = way, 2, 8
        self.embed, self.o, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.made, rates = made, 0.3 ** torch.arange(4.0)
        angles = torch.arange(5.0)[:, None] * rates
        angles = angles.repeat_interleave(2, -1) if way == "neighbours" else angles.repeat(1, 2)
        if made:
            self.register_buffer("rates", rates)
        else:
            self.register_buffer("cos", angles.cos())
            self.register_buffer("sin", angles.sin())

    def angles(self) -> tuple[Tensor, Tensor]:
        if not self.made:
            return self.cos, self.sin
        places = torch.arange(5.0, dtype=self.rates.dtype)
        angles = (self.rates[None, :, None] @ places[None, None, :]).transpose(1, 2)
        angles = torch.cat((angles, angles), -1)
        return angles.cos(), angles.sin()

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        b, n, _ = x.shape
        q, k, v = (
            layer(x).view(b, n, self.heads, self.size).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        cos, sin = self.angles()
        q, k = (each * cos + TURNS[self.way](each) * sin for each in (q, k))
        weights = (q @ k.transpose(-2, -1) * self.size**-0.5).softmax(-1)
        return self.head((x + self.o((weights @ v).transpose(1, 2).reshape(b, n, -1))).mean(1))


@pytest.mark.parametrize(
    ("way", "made"),
    [("halves", False), ("halves", True), ("sliced", False), ("neighbours", False)],
)
def test_pairs_of_channels_go_together(way: str, made: bool) -> None:
    torch.manual_seed(0)
    traced = trace_network(scrambled(Rotary(way, made)), SHAPE)
    assert traced.network.unprunable == ()
    assert [group.channels for group in traced.network.groups] == [16, 2, 4, 8]
    for seed in range(2):
        wrong, effect = gap(traced, SHAPE, some(traced, seed))
        assert wrong < 1e-12 < 1e-3 < effect
