"""One scale for all weights of a layer."""

from __future__ import annotations

import pytest
import torch

from automl.compression.config import CompressionConfig
from automl.compression.quantization.base import Quantizer
from automl.compression.quantization.nearest import Nearest
from automl.compression.quantization.per_tensor import PerTensor, quantizer_for
from automl.compression.quantization.qparams import QParams
from automl.compression.quantization.second_order import SecondOrder
from automl.compression.quantization.simulation import QuantizedModel
from automl.errors import QuantizationError
from automl.policy.policy import Bits, Policy
from automl.testing.networks import made_compressor
from automl.testing.quantizers import QuantizerContract


class TestPerTensor(QuantizerContract):
    name = "per-tensor"


class TestPerTensorNearest(QuantizerContract):
    name = "per-tensor:nearest=true,equalise=false"


@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("nearest", [True, False])
@pytest.mark.parametrize("bits", [1, 3, 8])
def test_all_scales_are_one(refine: bool, nearest: bool, bits: int) -> None:
    weights = torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(0))
    moments = torch.eye(21, dtype=torch.float64).repeat(2, 1, 1)
    moments[1] *= 100
    quantizer = PerTensor(nearest=nearest)
    _, qparams = quantizer.round(weights, moments, Bits(bits, 8), refine=refine)
    assert isinstance(qparams, QParams)
    assert qparams.scale.shape == (2, 3, 1)
    assert len(qparams.scale.unique()) == 1


def test_columns_count_as_they_are_read_in_all_runs() -> None:
    """The run that reads large values decides the scale."""
    weights = torch.cat([torch.full((1, 1, 8), 0.1), torch.full((1, 1, 8), 1.0)])
    moments = torch.eye(9, dtype=torch.float64).repeat(2, 1, 1)
    moments[0] *= 1e6
    found, _ = PerTensor(nearest=True).round(weights, moments, Bits(2, 8))
    assert torch.allclose(found[0], weights[0], rtol=0.1)


@pytest.mark.parametrize("scheme", ["qdq-u8s8-tensor", "qdq-s8s8-tensor"])
def test_a_target_that_knows_one_scale_gets_one(scheme: str) -> None:
    assert quantizer_for(SecondOrder(ranges="max"), scheme) == PerTensor(ranges="max")
    assert quantizer_for(Nearest(correct_bias=False), scheme) == PerTensor(
        nearest=True, correct_bias=False
    )
    kept = PerTensor(equalise=False)
    assert quantizer_for(kept, scheme) is kept


@pytest.mark.parametrize("scheme", [None, "qdq-u8s8", "qdq-s8s8-residual"])
def test_others_keep_a_scale_a_channel(scheme: str | None) -> None:
    quantizer: Quantizer = SecondOrder()
    assert quantizer_for(quantizer, scheme) is quantizer


def test_a_quantizer_with_scales_of_its_own_is_refused() -> None:
    class Own:
        ranges, correct_bias, round = "mse", True, SecondOrder.round

    with pytest.raises(QuantizationError, match="Own has one a channel: per-tensor"):
        quantizer_for(Own(), "qdq-u8s8-tensor")  # type: ignore[arg-type]


def test_a_compressor_takes_it_where_the_target_says_so() -> None:
    compressor = made_compressor(CompressionConfig(), scheme="qdq-u8s8-tensor")
    bits = dict.fromkeys(compressor.joint.flow.layers, Bits(8, 8))
    made = compressor.make(Policy(bits=bits))
    assert isinstance(made, QuantizedModel)
    assert all(len(made.scales(name).unique()) == 1 for name in bits)
