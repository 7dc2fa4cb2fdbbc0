"""torch's attention with each of its weights in a layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from automl.network.attention import SplitAttention, split_attentions

MASK = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
PADDING = torch.tensor([[False, False, False, False, True], [False, True, False, False, False]])
CALLS: dict[str, dict[str, Any]] = {
    "weights": {},
    "no weights": {"need_weights": False},
    "weights of each head": {"average_attn_weights": False},
    "mask": {"attn_mask": MASK},
    "mask, no weights": {"attn_mask": MASK, "need_weights": False, "is_causal": True},
    "added mask": {"attn_mask": torch.randn(5, 5), "need_weights": False},
    "mask of each head": {"attn_mask": MASK.expand(8, 5, 5), "need_weights": False},
    "padding": {"key_padding_mask": PADDING},
    "both": {"key_padding_mask": PADDING, "attn_mask": MASK, "need_weights": False},
}


def split(attention: nn.MultiheadAttention) -> nn.Module:
    model = nn.Sequential(attention.eval().requires_grad_(False))
    split_attentions(model)
    return model[0]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("first", [True, False])
def test_the_numbers_are_the_same(call: str, first: bool) -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 4, batch_first=first)
    nn.init.normal_(attention.in_proj_bias)
    made = split(attention)
    assert isinstance(made, SplitAttention)
    shape = (2, 5, 16) if first else (5, 2, 16)
    q, k, v = (torch.randn(shape) for _ in range(3))
    expected, found = (each(q, k, v, **CALLS[call]) for each in (attention, made))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_other_widths_of_keys_and_values_without_bias_and_without_batch() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 2, bias=False, kdim=6, vdim=10)
    made = split(attention)
    values = (torch.randn(5, 16), torch.randn(7, 6), torch.randn(7, 10))
    torch.testing.assert_close(made(*values), attention(*values), rtol=1e-5, atol=1e-5)


def test_one_that_stands_at_two_places_stays_one() -> None:
    attention = nn.MultiheadAttention(8, 2)
    model = nn.ModuleList([attention, attention])
    split_attentions(model)
    assert model[0] is model[1]
    assert isinstance(model[0], SplitAttention)


def test_those_that_add_keys_are_left_as_they_are() -> None:
    attention = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    assert split(attention) is attention
