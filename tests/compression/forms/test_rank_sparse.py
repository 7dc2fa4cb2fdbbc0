"""A product of thin matrices, and few weights beside it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from automl.compression import fitted, matrix
from automl.compression.forms.rank_channel import RankChannel
from automl.compression.forms.rank_sparse import RankSparse
from automl.compression.quantization.rounding import output_error
from automl.network import Layer
from automl.policy import Bits
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestRankSparse(FormContract):
    name = "rank+sparse"


def layer() -> tuple[nn.Conv2d, Tensor]:
    torch.manual_seed(0)
    module = nn.Conv2d(12, 16, 3, padding=1)
    with torch.no_grad():
        module.weight.copy_((torch.randn(16, 3) @ torch.randn(3, 108)).view(16, 12, 3, 3))
        for row in module.weight.view(16, -1):
            row[torch.randperm(108)[:4]] += 5 * torch.randn(4)
    return module, moments_of(module)


def test_a_sum_of_both_is_found_and_taken_apart() -> None:
    module, moments = layer()
    dense, form = matrix(module), RankSparse()
    found = fitted(form, (3, 5), module, moments)
    whole = float(output_error(dense, torch.zeros_like(dense), moments).sum())
    assert float(output_error(dense, found, moments).sum()) < 0.05 * whole
    first, second, places, beside = form.pack((3, 5), found.double().view(1, 16, 12, 3, 3))
    product = second.values.view(16, 3) @ first.values.view(3, 108)
    apart = found[0].double() - product
    assert int((apart.abs() > 1e-4).sum(1).max()) <= 6
    torch.testing.assert_close(
        apart.gather(1, places.values.view(16, 6)), beside.values.view(16, 6)
    )


def test_both_lose_less_than_a_rank_that_takes_as_many_bytes() -> None:
    module, moments = layer()
    dense, bare = matrix(module), Layer("", "conv2d", 12, 16, (3, 3))
    size = RankSparse().bytes((3, 5), bare, Bits())
    assert size == 4 * 3 * (16 + 108) + 4 * 16 * 6 + 16 * 6 * 7 / 8
    more = int(size // (4 * (16 + 108)))
    alone = fitted(RankChannel(), ("first", more), module, moments)
    both = fitted(RankSparse(), (3, 5), module, moments)
    own, other = (float(output_error(dense, each, moments).sum()) for each in (both, alone))
    assert own < 0.5 * other


def test_other_texts_and_weights_are_refused() -> None:
    for text in ("3", "0-5", "3-0", "3-51", "3-5-5"):
        with pytest.raises(ValueError, match="write 8-5"):
            RankSparse().read(text)
    with pytest.raises(ValueError, match="no weights of"):
        RankSparse().pack((3, 5), torch.randn(1, 4, 12, 3, 3).double())
    assert "more than its 4" in RankSparse().refusal((5, 5), Layer("", "conv2d", 8, 4, (3, 3)))
