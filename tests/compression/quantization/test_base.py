"""What a quantizer says beside its weights is done: biases, and ranges of activations."""

from __future__ import annotations

import pytest
import torch
from compressed import images_for
from small import MAP, Plain, seeded

from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.layer_matrix import matrix
from automl.compression.quantization.base import Quantizer
from automl.compression.quantization.nearest import Nearest
from automl.compression.quantization.second_order import SecondOrder
from automl.compression.quantization.simulation import QuantizedModel
from automl.compression.reconstruction.base import RefitSettings
from automl.network.traced_model import trace_network
from automl.policy.policy import Bits, Policy

OURS: tuple[Quantizer, ...] = (SecondOrder(), Nearest())


def made(text: str, finish: bool) -> QuantizedModel:
    traced = trace_network(seeded(Plain), MAP, resolutions=())
    config = CompressionConfig(quantization=text)
    maker = Compressor(traced, images_for(MAP, 16), {}, config=config, scheme="qdq-u8s8")
    policy, settings = Policy(bits={"second": Bits(3, 4)}), RefitSettings(rounds=0)
    model = maker.make(policy, settings=settings, finish=finish)
    assert isinstance(model, QuantizedModel)
    return model


@pytest.mark.parametrize("finish", [False, True])
@pytest.mark.parametrize("name", ["second-order", "nearest"])
def test_biases_are_corrected_where_it_says_so(name: str, finish: bool) -> None:
    dense = seeded(Plain).get_submodule("second").bias
    with_, without = (
        made(f"{name}:correct_bias={says}", finish).network.get_submodule("second")
        for says in ("true", "false")
    )
    assert torch.equal(without.bias, dense)  # type: ignore[arg-type]
    assert not torch.equal(with_.bias, dense)  # type: ignore[arg-type]
    assert torch.equal(matrix(with_), matrix(without))


@pytest.mark.parametrize("finish", [False, True])
def test_ranges_are_found_as_it_says(finish: bool) -> None:
    scales = {
        how: sorted(each.scale for each in made(f"nearest:ranges={how}", finish).qparams.values())
        for how in ("mse", "percentile", "max")
    }
    assert scales["mse"] < scales["max"]
    assert scales["percentile"] <= scales["max"]


def test_ours_say_both() -> None:
    assert [(each.ranges, each.correct_bias) for each in OURS] == [("mse", True), ("mse", True)]
