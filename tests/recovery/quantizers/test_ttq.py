"""Two sizes that are learned, and zeros by the threshold."""

from __future__ import annotations

import pytest
import torch
from roundings import drawn, given

from automl.errors import UsageError
from automl.policy.policy import Bits
from automl.recovery.quantizers.ttq import TrainedTernary, TwoSizes
from automl.testing import TrainedQuantizerContract


class TestTtq(TrainedQuantizerContract):
    name = "ttq"
    bits = Bits(2, 32)


def made(threshold: float) -> tuple[TwoSizes, torch.Tensor]:
    dense = drawn()
    rounding = TrainedTernary(threshold).weights(given(dense, 2))
    assert isinstance(rounding, TwoSizes)
    return rounding, dense


def test_gradients_are_those_of_the_paper() -> None:
    rounding, dense = made(0.3)
    dense.requires_grad_()
    slope = drawn(seed=1)
    values = rounding(dense)
    values.backward(slope)
    above, below = values > 0, values < 0
    assert rounding.above.grad is not None
    assert rounding.below.grad is not None
    torch.testing.assert_close(rounding.above.grad, slope[above].sum())
    torch.testing.assert_close(rounding.below.grad, -slope[below].sum())
    own = torch.where(above, rounding.above, torch.where(below, rounding.below, 1.0))
    torch.testing.assert_close(dense.grad, slope * own.detach())


def test_a_higher_threshold_leaves_more_zeros() -> None:
    shares = []
    for threshold in (0.05, 0.3, 0.6):
        rounding, dense = made(threshold)
        values, _ = rounding.frozen(dense)
        below = dense.abs() <= threshold * dense.abs().amax(2, keepdim=True)
        assert torch.equal(values == 0, below)
        shares.append(float(below.float().mean()))
    assert shares == sorted(shares)


def test_both_sizes_are_learned_apart() -> None:
    rounding, dense = made(0.05)
    aim = torch.where(dense > 0, 3.0, -0.5)
    optimiser = torch.optim.SGD(rounding.parameters(), 0.5)
    for _ in range(100):
        optimiser.zero_grad()
        (rounding(dense) - aim).square().mean().backward()
        optimiser.step()
    _, book = rounding.frozen(dense)
    below, zero, above = book.entries.tolist()
    assert (below, zero, above) == pytest.approx((-0.5, 0, 3), abs=0.2)


def test_what_does_not_fit_is_refused() -> None:
    for bits in (Bits(8, 8), Bits(2, 4), Bits(3, 32)):
        assert "w2" in TrainedTernary().refusal(bits)
    with pytest.raises(UsageError, match=r"threshold between 0 and 1, found 1\.5"):
        TrainedTernary(1.5)
