"""ThiNet's scales: one number a channel, and no more than that."""

from __future__ import annotations

import copy

import torch
from compressed import images_for, outputs_of
from small import MAP, Plain, seeded
from uncompensated import uncompensated

from automl.compression.compressor import Compressor
from automl.compression.quantization.second_order import SecondOrder
from automl.compression.reconstruction.thinet_scale import ThinetScale
from automl.network.traced_model import trace_network

FIRST = torch.arange(4)


def doubled(times: float) -> Compressor:
    """Channels 4 to 7 repeat 0 to 3, and are read with so many times their weights."""
    model = seeded(Plain)
    with torch.no_grad():
        for value in (model.first.weight, model.first.bias):
            value[4:] = value[:4]
        model.second.weight[:, 4:] = times * model.second.weight[:, :4]
    traced = trace_network(model, MAP, resolutions=())
    return Compressor(traced, images_for(MAP, 64), {"first": (4,)})


def gap(made: Compressor, model: torch.nn.Module) -> float:
    fresh = images_for(MAP, 50, seed=9)
    expected = outputs_of(made.traced.model, fresh)
    found = outputs_of(model, fresh)
    return float((found - expected).square().mean() / expected.var())


def test_channels_that_others_repeat_are_made_good_by_scales() -> None:
    made = doubled(times=1.5)
    candidate = uncompensated(made, {"first": FIRST})
    raw = copy.deepcopy(candidate.model)
    finished = ThinetScale().finish(candidate, SecondOrder())
    assert gap(made, finished) < 1e-3 * gap(made, raw)
    scaled = finished.get_submodule("second").weight / raw.get_submodule("second").weight  # type: ignore[operator]
    assert torch.allclose(scaled, torch.full_like(scaled, 2.5), rtol=1e-2)


def test_each_channel_has_one_number_and_biases_stay() -> None:
    made = doubled(times=1.0)
    with torch.no_grad():
        made.traced.model.get_submodule("second").weight[:, 4:].mul_(torch.rand(6, 4, 3, 3))  # type: ignore[operator]
    made = Compressor(
        trace_network(made.traced.model, MAP, resolutions=()), made.images, {"first": (4,)}
    )
    candidate = uncompensated(made, {"first": FIRST})
    raw = copy.deepcopy(candidate.model)
    finished = ThinetScale().finish(candidate, SecondOrder())
    before, after = (each.get_submodule("second") for each in (raw, finished))
    ratio = after.weight / before.weight  # type: ignore[operator]
    assert torch.allclose(ratio, ratio[:1, :, :1, :1].expand_as(ratio), rtol=1e-4)
    assert len(ratio[0, :, 0, 0].unique()) == 4
    assert torch.equal(after.bias, before.bias)  # type: ignore[arg-type]
    assert gap(made, finished) < gap(made, raw)


def test_what_loses_nothing_is_left_as_it_is() -> None:
    made = doubled(times=0.0)
    candidate = uncompensated(made, {"first": FIRST})
    raw = copy.deepcopy(candidate.model)
    finished = ThinetScale().finish(candidate, SecondOrder())
    before, after = (each.get_submodule("second").weight for each in (raw, finished))
    assert torch.allclose(after, before, rtol=1e-4)  # type: ignore[arg-type]
