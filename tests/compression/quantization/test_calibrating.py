"""Ranges found on a walk in parts: of all values, before they are rounded."""

from __future__ import annotations

import pytest
import torch
from compressed import images_for
from small import MAP, ODD, Plain, seeded

from automl.compression.memory import ImageParts
from automl.compression.quantization.calibrating import (
    CalibrationMode,
    ObserverMode,
    QParamsFinder,
)
from automl.compression.quantization.simulation import Plan, make_plan
from automl.errors import QuantizationError
from automl.network.precision import Flow
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Bits


def parts(images: torch.Tensor, *ends: int) -> ImageParts:
    slices = tuple(slice(first, end) for first, end in zip((0, *ends), ends, strict=False))
    return ImageParts(lambda here: images[here], slices, {})


def network(name: str) -> tuple[TracedModel, Plan]:
    factory, shape = ODD[name]
    traced = trace_network(seeded(factory), shape, resolutions=())
    flow = Flow(traced.trace)
    return traced, make_plan(flow, dict.fromkeys(flow.layers, Bits(8, 8)), "qdq-u8s8")


@pytest.mark.parametrize("name", ["shortcuts", "joined", "in place", "line"])
def test_in_parts_the_ranges_are_nearly_those_of_the_whole(name: str) -> None:
    traced, plan = network(name)
    images = images_for(traced.network.input_shape, 9)
    found = []
    for ends in ((9,), (4, 7, 9)):
        mode = CalibrationMode(traced.model, plan, parts(images, *ends), how="max")
        mode.calibrate()
        found.append(mode.qparams)
    whole, split = found
    assert whole.keys() == split.keys() == set(plan.sources())
    for source, expected in whole.items():
        assert split[source].scale == pytest.approx(expected.scale, rel=0.02)
        assert split[source].zero_point == pytest.approx(expected.zero_point, abs=2)


def test_what_rounds_nothing_is_seen_part_by_part() -> None:
    traced, plan = network("shortcuts")
    images = images_for(MAP, 9)
    found = []
    for ends in ((9,), (2, 9)):
        finder = QParamsFinder(plan.sources(), plan.readers, plan.scheme, plan.kept, how="max")
        ObserverMode(traced.model, finder, parts(images, *ends)).observe()
        found.append(finder.qparams)
    assert found[0] == found[1]


def test_an_extreme_of_any_part_is_in_the_range() -> None:
    traced = trace_network(seeded(Plain), MAP, resolutions=())
    plan = make_plan(Flow(traced.trace), {"first": Bits(8, 8)}, "qdq-u8s8")
    images = images_for(MAP, 6)
    images[5] *= 100
    mode = CalibrationMode(traced.model, plan, parts(images, 2, 4, 6), how="max")
    mode.calibrate()
    (qparams,) = (each for (address, _), each in mode.qparams.items() if address[1] == -1)
    assert qparams.scale * 255 == pytest.approx(float(images.max() - images.min()), rel=0.01)


def test_what_is_not_finite_in_a_later_part_is_named() -> None:
    traced, plan = network("shortcuts")
    images = images_for(MAP, 4)
    images[3] = torch.nan
    with pytest.raises(QuantizationError, match="NaN activations"):
        CalibrationMode(traced.model, plan, parts(images, 2, 4)).calibrate()
