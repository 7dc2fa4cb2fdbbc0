"""A compressor uses the inputs that its config says, and knows them again."""

from __future__ import annotations

import pytest
import torch
from compressed import compressor, images_for, random_policy, read, same, state
from small import MAP, Plain, seeded
from torch import Tensor

from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.reconstruction.base import RefitSettings
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


def test_candidates_read_an_excerpt_and_are_made_as_of_all_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = (*MAP[:-2], 12, 12)
    traced = trace_network(seeded(Plain), shape, resolutions=(8, 12))
    images = images_for(shape, 9)
    name = traced.network.groups[0].name
    maker = Compressor(traced, images, {name: (4,)})
    settings = RefitSettings(images=4, rows=20)
    policy = Policy(resolution=8, channels={name: 4})
    part, whole = maker.features(8, settings), maker.features(8)
    assert not part.moments
    for name, target in part.targets.items():
        assert part.chosen[name].shape[0] == 4
        assert torch.equal(part.chosen[name], settings.excerpt.places(whole.chosen[name]))
        per_image = part.chosen[name].shape[1]
        expected = whole.targets[name].unflatten(0, (9, -1))[:4, :per_image].flatten(0, 1)
        torch.testing.assert_close(target, expected)
    assert maker.features(8, settings) is part
    assert maker.features(12, settings) is maker.features(0)
    found = maker.make(policy, settings=settings).state_dict()
    monkeypatch.setattr(maker, "features", lambda resolution, settings: whole)
    for name, values in maker.make(policy, settings=settings).state_dict().items():
        torch.testing.assert_close(found[name], values)


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
