"""Operators of many widths at once, against each width alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from automl.cost.grids import Lowered, Way, operators_over
from automl.latency.keys import OpKey
from automl.network.layers import LayerPlan
from automl.space import kind_of
from handmade import network
from toy_kind import TaperKind, known

READ, WRITTEN = (each.ravel() for each in np.meshgrid((2, 5, 8), (3, 4, 7, 12), indexing="ij"))
NO_HEADS = np.zeros_like(READ)


def plan(name: str) -> LayerPlan:
    return next(each for each in network().plans if each.layer.name == name)


def alone(layer: LayerPlan, way: Way, resolution: int, read: int, written: int) -> list[OpKey]:
    made = layer.sized(read, written, resolution)
    return [way.key(each) for each in way.operators(made)]


@pytest.mark.parametrize("name", ["mix", "depthwise"])
def test_they_are_those_of_each_width_alone(name: str) -> None:
    kind = kind_of("form")
    layer = plan(name)
    options = kind.forms(layer.layer)  # type: ignore[attr-defined]
    with known():
        taper = [] if name == "depthwise" else [Lowered(TaperKind(), 2)]
        lowered = [None, *(Lowered(kind, option) for option in options), *taper]
        ways = [Way(precision, each) for precision in ("fp32", "int8") for each in lowered]
        written = READ if name == "depthwise" else WRITTEN
        found = operators_over(layer, (1, 0), ways, (READ, written, NO_HEADS))
    assert len(set(found.keys)) == len(found.keys)
    runs: list[list[OpKey]] = [[] for _ in range(found.entries)]
    for entry, key in zip(found.entry.tolist(), found.key.tolist(), strict=True):
        runs[entry].append(found.keys[key])
    expected = [
        alone(layer, way, resolution, read, other)
        for resolution in (1, 0)
        for way in ways
        for read, other in zip(READ.tolist(), written.tolist(), strict=True)
    ]
    assert runs == expected
    assert all(type(key.in_channels) is int for key in found.keys)


def test_layers_of_one_shape_share_them() -> None:
    layer = plan("mix")
    counts = (READ, WRITTEN, NO_HEADS)
    first, again = (operators_over(layer, (0,), [Way("fp32")], counts) for _ in range(2))
    assert first is again
    assert operators_over(layer, (1,), [Way("fp32")], counts) is not first


def test_a_conversion_says_which_it_is() -> None:
    mix = plan("mix")
    value = replace(mix, layer=replace(mix.layer, op="convert", groups=1))
    found = operators_over(value, (0,), [Way("quantize")], (READ, READ, NO_HEADS))
    assert {(key.op, key.detail, key.precision) for key in found.keys} == {
        ("convert", "quantize", "int8")
    }
    assert len(found.keys) == len(set(READ.tolist()))
