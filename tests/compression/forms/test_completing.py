"""Products of low rank with weights beside them, taken apart by the marks of their floats."""

from __future__ import annotations

import torch

from automl.compression.forms.completing import apart, marked


def test_a_marked_sum_is_the_sum_and_is_taken_apart() -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        product = torch.randn(2, 12, 4).double() @ torch.randn(2, 4, 40).double()
        beside = torch.zeros_like(product)
        places = torch.rand(2, 12, 40).topk(3, 2).indices
        beside.scatter_(2, places, torch.randn(2, 12, 3).double())
        found = marked(product, beside, 4, 3)
        torch.testing.assert_close(found, product + beside, rtol=1e-6, atol=1e-6)
        parts = apart(found, 4, 3)
        assert parts is not None
        first, second, told = parts
        torch.testing.assert_close(second @ first, product, rtol=1e-4, atol=1e-4)
        assert torch.equal(told, places.sort(2).values)


def test_what_cannot_be_told_is_moved_to_the_first_weights() -> None:
    """Of as many as there are, most places of a column are unknown."""
    torch.manual_seed(0)
    product = torch.randn(1, 6, 5).double() @ torch.randn(1, 5, 8).double()
    beside = torch.zeros_like(product)
    beside.scatter_(2, torch.rand(1, 6, 8).topk(5, 2).indices, 1.0)
    found = marked(product, beside, 5, 5)
    assert apart(found, 5, 5) is not None


def test_other_floats_are_no_sum() -> None:
    torch.manual_seed(0)
    assert apart(torch.randn(1, 8, 20).double(), 2, 2) is None
    even = (torch.randn(1, 8, 20).view(torch.int32) & ~1).view(torch.float32)
    even.view(torch.int32)[..., :2] |= 1
    assert apart(even.double(), 2, 2) is None
