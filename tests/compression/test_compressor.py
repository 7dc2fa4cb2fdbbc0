"""A compressor uses the inputs that its config says, and knows them again."""

from __future__ import annotations

import pytest
import torch
from compressed import compressor, images_for, random_policy, read, same, state
from small import MAP, Plain, seeded
from torch import Tensor

from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.moments import StreamedMoments
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


def test_no_more_inputs_are_used_than_the_config_says() -> None:
    images = images_for(MAP, 20)
    assert len(made(images, 7).images) == 7
    assert len(made(images).images) == 20


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


def test_moments_are_not_held_while_a_network_is_refitted() -> None:
    traced, images = read("residual"), images_for((1, 3, 16, 16), 8)
    group = traced.network.groups[0]
    maker = Compressor(traced, images, {group.name: (group.channels // 2,)})
    moments = maker.features(0).moments
    assert isinstance(moments, StreamedMoments)
    before = {name: each.total.clone() for name, each in moments.items()}
    assert moments.held
    maker.make(Policy({group.name: group.channels // 2}))
    assert not moments.held
    assert all(torch.equal(moments[name].total, total) for name, total in before.items())


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


def test_of_small_inputs_more_fit_than_of_what_the_network_is_priced_at() -> None:
    """Maps count as they are on the inputs, not as they are on the frames of the device."""
    frame = (*MAP[:2], 4 * MAP[2], 2 * MAP[3])
    traced = trace_network(seeded(Plain), frame, resolutions=(), shown=MAP)
    images = images_for(MAP, 20)
    config = CompressionConfig(memory=16 * 11 * 16 * 4 * 8 * 8)  # 11 images' two widest maps
    for network in (traced, trace_network(seeded(Plain), MAP, resolutions=())):
        parts = Compressor(network, images, {}, config=config).features(0).parts
        assert [each.stop for each in parts.slices] == [11, 20]


def test_a_limit_of_memory_gives_nearly_the_same_network() -> None:
    """In parts that wait for each other, on fewer images where maps are large."""
    traced, images = read("residual"), images_for((1, 3, 16, 16), 60)
    counts = {group.name: (group.channels // 2,) for group in traced.network.groups}
    policy = Policy({name: count for name, (count,) in counts.items()})
    found = []
    for memory in (2_000_000_000, 12_000_000):
        config = CompressionConfig(memory=memory)
        maker = Compressor(traced, images, counts, config=config)
        model = maker.make(policy)
        assert (len(maker.features(0).parts.slices) > 1) == (memory < 10**9)
        with torch.no_grad():
            found.append(torch.stack([model(images), traced.model(images)]))
        again = Compressor(traced, images, counts, config=config).make(policy)
        assert same(state(model), again)
    errors = [float((one[0] - one[1]).square().mean() / one[1].var()) for one in found]
    assert errors[1] < 1.3 * errors[0]
