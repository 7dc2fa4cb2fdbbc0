"""Weights on few values: by what the layer writes, not by what each weight is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from roundings import drawn, given
from torch import Tensor

from automl.compression import output_error
from automl.policy.policy import Bits
from automl.recovery.base import GivenWeights, WeightRounding
from automl.recovery.quantizers.dorefa import SquashedWeights
from automl.recovery.quantizers.fitting import error_of, nearest_among, scaled_codes, two_sizes
from automl.recovery.quantizers.lr_net import Chances
from automl.recovery.quantizers.minmax import SpanningWeights
from automl.recovery.quantizers.pow2 import Powers
from automl.recovery.quantizers.registry import TRAINED_QUANTIZERS


def moments(columns: int = 24, *, ones: bool = False) -> Tensor:
    """Of inputs that are much alike."""
    rows = drawn(1, 400, columns)[0] @ drawn(1, columns, columns, seed=2)[0] + 1
    wide = torch.cat([rows, torch.ones(400, 1)], 1) if ones else rows
    return (wide.T @ wide / 400).unsqueeze(0).double()


def known(bits: int, activations: int = 32, *, shared: bool = False) -> GivenWeights:
    dense = drawn()
    base = given(dense, bits, activations, shared=shared)
    return replace(base, aim=dense, moments=moments(ones=True))


@pytest.mark.parametrize("shared", [False, True])
def test_errors_of_outputs_are_smaller_than_those_of_the_nearest(shared: bool) -> None:
    levels, layer = torch.tensor([-3.0, -1.0, 1.0, 3.0]), known(2, 4, shared=shared)
    codes, scale = scaled_codes(layer, levels)
    blind, plain = scaled_codes(replace(layer, moments=None), levels)
    assert set(codes.unique().tolist()) <= set(levels.tolist())
    assert scale.shape == ((1, 1, 1) if shared else (1, 4, 1))
    assert error_of(layer, codes * scale) < 0.8 * error_of(layer, blind * plain)


def test_without_moments_the_nearest_are_taken() -> None:
    grids = torch.tensor([-1.0, 0.2, 2.0]).expand(1, 4, 3)
    layer = given(drawn(), 2)
    found = nearest_among(layer, grids)
    apart = (drawn() - found).abs()
    assert all(bool((apart <= (drawn() - each).abs()).all()) for each in (-1.0, 0.2, 2.0))


def test_two_sizes_that_are_there_are_found() -> None:
    signs = drawn(seed=3).sign() * (drawn(seed=4).abs() > 0.5)
    dense = torch.where(signs > 0, 0.7, torch.where(signs < 0, -0.3, 0.0))
    layer = replace(given(dense, 2), moments=moments(), dense=dense)
    found, above, below = two_sizes(layer)
    assert torch.equal(found, signs)
    assert (float(above), float(below)) == pytest.approx((0.7, 0.3), abs=1e-4)


def test_the_largest_power_is_that_of_least_error() -> None:
    dense = drawn()
    dense[0, 0, 0] = 6.0  # alone far out: the paper's largest power is 8, and 4 the only other
    layer = replace(given(dense, 3), dense=dense, moments=moments())
    values = Powers(layer).begin(layer)
    assert float(values.abs().max()) <= 2
    assert float((values == 0).float().mean()) < 0.6


@pytest.mark.parametrize(
    ("name", "bits", "activations"),
    [
        *(("dorefa", bits, 4) for bits in (1, 2, 3, 7)),
        *(("minmax", bits, 4) for bits in (2, 4, 8)),
        *((name, 2, 32) for name in ("ternary", "ttq", "elq", "lr-net")),
        *((name, 1, 32) for name in ("binary", "bnn", "xnor", "lr-net")),
        *(("pow2", bits, 32) for bits in (3, 4, 8)),
        *((name, 2, 4) for name in ("lsq", "relaxed")),
    ],
)
def test_numbers_that_training_begins_with_are_rounded_to_what_was_fitted(
    name: str, bits: int, activations: int
) -> None:
    """They have less error in the outputs than the dense weights, rounded by the same."""
    layer = known(bits, activations)
    assert layer.bits == Bits(bits, activations)
    rounding = TRAINED_QUANTIZERS.build(name).weights(layer).eval()
    found = error_of(layer, rounding(rounding.begin(layer)).detach())
    plain = _of_dense(rounding, layer)
    assert found < (1.001 if isinstance(rounding, Chances) else 0.9) * plain


def _of_dense(rounding: WeightRounding, layer: GivenWeights) -> float:
    assert layer.moments is not None
    assert layer.dense is not None
    values = rounding(layer.dense).detach()
    return float(output_error(layer.dense, values, layer.moments).sum())


def test_one_weight_of_a_layer_at_least_is_the_largest_integer() -> None:
    dense = torch.tensor([[[0.5, -0.5, 0.5, 0.5]]])
    rounding = SquashedWeights(layer := given(dense, 3, 4), layer.known)  # type: ignore[arg-type]
    values, qparams = rounding.eval().frozen(rounding.begin(layer))
    assert int((values / qparams.scale).round().abs().max()) == 7  # type: ignore[union-attr]


def test_the_largest_weight_of_an_output_stays_the_end_of_its_integers() -> None:
    layer = known(4, 4)
    rounding = SpanningWeights(layer, layer.known)  # type: ignore[arg-type]
    numbers = rounding.begin(layer)
    ends = layer.weights.abs().amax(2)
    torch.testing.assert_close(numbers.abs().amax(2), ends)
