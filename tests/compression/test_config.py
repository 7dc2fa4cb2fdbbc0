"""A config names what there is, and a compressor works by it."""

from __future__ import annotations

import pytest
import torch
from compressed import images_for, state
from small import Plain, seeded

from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.importance.obs import Obs
from automl.compression.importance.registry import IMPORTANCES
from automl.compression.quantization.nearest import Nearest
from automl.compression.quantization.registry import QUANTIZERS
from automl.compression.quantization.second_order import SecondOrder
from automl.compression.reconstruction.least_squares import LeastSquares
from automl.compression.reconstruction.registry import RECONSTRUCTIONS
from automl.errors import UsageError
from automl.network.traced_model import trace_network
from automl.policy.policy import Bits, Policy


def test_the_usual_methods_are_made_by_their_names() -> None:
    config = CompressionConfig()
    assert IMPORTANCES.build(config.importance) == Obs()
    assert RECONSTRUCTIONS.build(config.reconstruction) == LeastSquares()
    assert QUANTIZERS.build(config.quantization) == SecondOrder()


def test_options_stand_behind_the_name() -> None:
    found = QUANTIZERS.build("nearest:ranges=percentile,correct_bias=false")
    assert found == Nearest(correct_bias=False, ranges="percentile")
    assert RECONSTRUCTIONS.build("least-squares:ridge=1e-2") == LeastSquares(ridge=0.01)
    assert IMPORTANCES.build("obs:updates=64") == Obs(updates=64)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"importance": "obss"}, r"no importance 'obss' \(did you mean obs"),
        ({"importance": "zzz"}, r"no importance 'zzz' \(there is: activation, apoz, .*l2"),
        ({"reconstruction": "squares"}, r"no reconstruction 'squares' .*least-squares"),
        ({"quantization": "nearst"}, r"no quantizer 'nearst' \(did you mean nearest\?\)"),
        ({"quantization": "nearest:ranges"}, "'ranges' is no option: write NAME:KEY=VALUE"),
        ({"quantization": "nearest:range=max"}, r"no option of quantizer nearest 'range'.*ranges"),
        ({"quantization": ""}, "names no method"),
        ({"calibration": 0}, "at least 1 input, not 0"),
    ],
)
def test_what_there_is_not_is_refused_with_the_nearest(
    options: dict[str, str], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        CompressionConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "config",
    [
        CompressionConfig(importance="obs:damping=0.1"),
        CompressionConfig(reconstruction="least-squares:rounded_ridge=1.0"),
        CompressionConfig(quantization="nearest"),
        CompressionConfig(quantization="second-order:ranges=max"),
        CompressionConfig(calibration=5),
        CompressionConfig(seed=7),
    ],
)
def test_every_part_of_it_counts(config: CompressionConfig) -> None:
    shape = (1, 3, 64, 64)  # large enough that places are sampled
    traced = trace_network(seeded(Plain), shape, resolutions=())
    policy = Policy({"first": 3}, bits={"second": Bits(4, 4)})
    images = images_for(shape, 48)
    usual, same, other = (
        Compressor(traced, images, {"first": (3,)}, config=each, scheme="qdq-u8s8").make(policy)
        for each in (CompressionConfig(), CompressionConfig(), config)
    )
    assert str(usual.state_dict()) == str(same.state_dict())
    made = state_of(usual), state_of(other)
    assert not all(torch.equal(value, made[1][name]) for name, value in made[0].items()) or (
        str(usual.get_extra_state()) != str(other.get_extra_state())
    )


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return state(model.get_submodule("network"))
