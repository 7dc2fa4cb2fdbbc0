"""A compressor uses the inputs that its config says, and knows them again."""

from __future__ import annotations

import pytest
import torch
from compressed import compressor, images_for, random_policy, read, same, state
from small import MAP, Plain, seeded
from torch import Tensor

from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.errors import QuantizationError
from automl.network.traced_model import trace_network
from automl.policy.policy import Bits, Policy


def made(images: Tensor, calibration: int = 2000) -> Compressor:
    traced = trace_network(seeded(Plain), MAP, resolutions=())
    return Compressor(traced, images, {}, config=CompressionConfig(calibration=calibration))


def test_inputs_are_known_again_and_others_or_another_order_are_not() -> None:
    images = images_for(MAP, 6)
    digest = made(images).inputs_digest
    assert made(images.clone()).inputs_digest == digest
    assert made(images.to(memory_format=torch.channels_last)).inputs_digest == digest
    assert made(torch.cat([images, images]), calibration=6).inputs_digest == digest
    changed = images.clone()
    changed[5, 0, 0, 0] += 1e-6
    for other in (images.flip(0), images[:5], changed, images_for(MAP, 6, seed=1)):
        assert made(other).inputs_digest != digest


def test_no_more_inputs_are_used_than_the_config_says_and_than_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = images_for(MAP, 20)
    assert made(images, 7).images.shape[0] == 7
    monkeypatch.setattr("automl.compression.compressor._ACTIVATION_BYTES", 11 * 4 * 8 * 8 * 8)
    assert made(images).images.shape[0] == 11
    assert made(images, 7).images.shape[0] == 7


def test_making_leaves_the_dense_network_and_another_model_alone() -> None:
    traced, maker = read("residual"), compressor("residual")
    before = state(traced.model)
    policy = random_policy(traced, 1)
    first = maker.make(policy)
    kept = state(first)
    maker.make(random_policy(traced, 2))
    assert same(before, traced.model)
    assert same(kept, first)


def test_features_are_forgotten_and_found_again() -> None:
    maker = made(images_for(MAP, 6))
    first = maker.features(0)
    assert maker.features(0) is first
    maker.forget(but=0)
    assert maker.features(0) is first
    maker.forget()
    again = maker.features(0)
    assert again is not first
    for name, moments in first.moments.items():
        assert torch.equal(moments.total, again.moments[name].total)


def test_bits_of_a_layer_that_is_none_name_the_nearest() -> None:
    with pytest.raises(QuantizationError, match=r"secnd.*\(did you mean second\?\)"):
        made(images_for(MAP, 4)).plan(Policy(bits={"secnd": Bits(8, 8)}))


def test_of_small_inputs_more_fit_than_of_what_the_network_is_priced_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The widest map counts as it is on the inputs, not as it is on the frames of the device."""
    monkeypatch.setattr("automl.compression.compressor._ACTIVATION_BYTES", 11 * 4 * 8 * 8 * 8)
    frame = (*MAP[:2], 4 * MAP[2], 2 * MAP[3])
    traced = trace_network(seeded(Plain), frame, resolutions=(), shown=MAP)
    images = images_for(MAP, 20)
    assert len(Compressor(traced, images, {}).images) == len(made(images).images)
