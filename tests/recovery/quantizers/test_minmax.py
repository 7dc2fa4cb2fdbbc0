"""Ranges follow what is there."""

from __future__ import annotations

import pytest
import torch
from roundings import drawn, given, seen

from automl.errors import UsageError
from automl.recovery.quantizers.minmax import SpanningActivations, SpanningIntegers
from automl.testing import TrainedQuantizerContract


class TestMinmax(TrainedQuantizerContract):
    name = "minmax"


def test_weights_span_their_largest() -> None:
    dense = drawn()
    values, _ = SpanningIntegers().weights(given(dense, 4, 4)).frozen(dense)
    torch.testing.assert_close(values.abs().amax(2), dense.abs().amax(2))


def test_the_range_of_activations_is_a_running_average_while_it_is_trained() -> None:
    values = torch.tensor([0.0, 3.0])
    rounding = SpanningActivations(seen(values), 0.75).eval()
    rounding(values)
    assert rounding.frozen().scale == 0.5
    rounding.train()(values)
    assert rounding.frozen().scale == pytest.approx(0.75 * 0.5 + 0.25 * 1.0)


def test_a_momentum_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="momentum from 0 to below 1, found 1"):
        SpanningIntegers(1)
