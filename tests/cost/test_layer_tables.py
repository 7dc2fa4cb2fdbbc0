"""What the price of a layer depends on, and the ways in which it can run."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import pytest

from automl.cost.grids import Lowered, Way
from automl.cost.layer_tables import Builder, LayerTable, Ways, work_of
from automl.cost.operators import operators_of
from automl.latency.keys import op_key
from automl.methods import Method
from automl.network.layers import Layer, Parameters
from automl.policy.policy import Bits
from automl.policy.precisions import FP32, Precisions
from automl.space import KINDS, Space, Variable, build_space
from handmade import network
from toy_kind import TaperKind, known

CONV = Layer("c", "conv2d", 8, 12, (3, 3), padding=(1, 1), in_size=(16, 16), out_size=(16, 16))


def table(name: str, space: Space, counts: int = 64, precisions: Precisions = FP32) -> LayerTable:
    builder = Builder(network(), space, precisions, counts)
    return next(each for each in builder.tables() if each.plan.layer.name == name)


def test_what_a_layer_does_not_depend_on_is_none() -> None:
    alone = table("stem", Space(()))
    assert (alone.gates, alone.resolution_variable) == ((), None)
    assert alone.shape == (1, 1)
    space = build_space(network(), round_to=8)
    inside = table("expand", space)
    assert inside.gates == ((space.positions["block", "block"], (False, True)),)
    assert inside.resolution_variable == space.positions["resolution", ""]
    assert inside.shape == (2, 1, 2, 3)


def test_depthwise_layers_have_one_axis_and_concatenations_the_sum() -> None:
    space = build_space(network(), round_to=8)
    depthwise, joined = table("depthwise", space), table("cat", space)
    assert [axis.size for axis in depthwise.axes] == [3]
    (axis,) = joined.axes
    assert axis.inputs is not None
    assert axis.inputs.tolist() == [12 + 8, 12 + 16]  # what is fixed, and the branch


def test_only_some_counts_are_priced_and_the_rest_interpolated() -> None:
    space = build_space(network(), round_to=1)
    few = table("stem", space, counts=3)
    (axis,) = few.axes
    assert axis.outputs is not None
    assert axis.outputs[axis.priced].tolist() == [1, 9, 16]
    values = np.array([float(key.out_channels) for key in few.operators().keys])
    spread, between = few.spread(values)
    np.testing.assert_allclose(spread[0, 0], axis.outputs)
    assert between[0, 0].sum() == 13


def test_bits_are_ways_to_run() -> None:
    target = Precisions(("fp32", "int8"))
    options = (Bits(8, 8), Bits(4, 32), Bits())
    space = Space((Variable("bits", "mix", options),))
    ways = table("mix", space, precisions=target).ways
    assert ways.priced == (Way("int8"), Way("fp32"))
    assert ways.chosen == (0, 1, 1)  # weights that are rounded alone compute in float
    assert ways.bits == options
    assert ways.choosers == ((0, 3),)


def test_where_nothing_runs_nothing_is_priced() -> None:
    simulator = Precisions(("w8a8",), simulated=True)
    ways = table("add", Space(()), precisions=simulator).ways
    assert (ways.priced, ways.chosen) == ((), (None,))


def test_a_way_without_price_is_free() -> None:
    plan = network().plans[0]
    conversion = LayerTable(
        plan, (1,), Ways((Way("fp32"),), (None, 0), (Bits(),) * 2, ((0, 2),)), ()
    )
    spread, _ = conversion.spread(np.array([3.0]))
    assert spread.tolist() == [[0.0, 3.0]]


def test_a_lowered_layer_is_the_sum_of_what_it_runs_as() -> None:
    with known():
        base = build_space(network(), round_to=8, depth=False, resolutions=[32])
        space = Space((*base.variables, Variable("taper", "mix", (2, 4, None))))
        mix = table("mix", space)
    found, cells = mix.operators(), mix.shape[2] * mix.shape[3]
    running = [found.keys[place] for place in found.key[np.argsort(found.entry, kind="stable")]]
    lengths = np.bincount(found.entry)
    assert lengths.tolist() == [2] * (2 * cells) + [1] * cells
    assert mix.ways.choosers == ((len(base.variables), 3),)
    macs, size = mix.work()
    dense = mix.plan.sized(mix.plan.layer.in_channels, mix.plan.layer.out_channels, 1)
    for place, option in enumerate((2, 4, None)):
        lowered = TaperKind().lower(option, dense)
        assert macs[0, place, -1, -1] == sum(layer.macs for layer in lowered)
        held = sum(each.in_channels * each.out_channels * prod(each.kernel) for each in lowered)
        assert size[0, place, -1, -1] == 4 * (held + dense.out_channels)
        keys = tuple(op_key(replace(layer, name="")) for layer in lowered)
        end = lengths[: (place + 1) * cells].sum()
        assert tuple(running[end - len(keys) : end]) == keys


@pytest.mark.parametrize("bits", [Bits(), Bits(8, 8)])
def test_the_work_of_operators_without_their_bias(bits: Bits) -> None:
    macs, size = work_of(Lowered(TaperKind(), 4), bits, CONV)
    assert macs == 16 * 16 * 4 * 3 * (8 + 12)
    weights = 4 * 3 * (8 + 12)
    scales = 4 * (4 + 12) if bits.weights == 8 else 0
    assert size == weights * bits.weights / 8 + scales


class Halved(TaperKind):
    """A layer by itself, with a kernel of its own, in a quarter of the bytes."""

    name = "halved"

    def operators(self, form: int, layer: Layer) -> tuple[Layer, ...]:
        return (layer,)

    def kernel(self, option: int | None, operator: Layer) -> str:
        return "" if option is None else "half"

    def bytes(self, option: int | None, layer: Layer, bits: Bits) -> Any:
        return super().bytes(option, layer, bits) / (1 if option is None else 4)


def test_a_kind_says_by_which_rows_it_is_priced_and_what_it_weighs() -> None:
    with KINDS.including(Method("halved", "", "", f"{__name__}:Halved")):
        space = Space((Variable("halved", "mix", (2, None)),))
        mix = table("mix", space)
        named = operators_of(network(), space.decode(np.zeros(1, dtype=np.int16)), FP32)
    assert [key.precision for key in mix.operators().keys] == ["fp32+half", "fp32"]
    macs, size = mix.work()
    plan, layer = mix.plan, mix.plan.layer
    assert macs.tolist() == [[layer.macs] * 2]
    weights, biases = layer.macs // prod(layer.out_size), plan.layer.out_channels
    assert size.tolist() == [[weights + 4 * biases, 4 * weights + 4 * biases]]
    assert [key.precision for key in named].count("fp32+half") == 1


def test_weights_that_are_counted_elsewhere_weigh_nothing_in_another_form() -> None:
    with known():
        space = Space((Variable("taper", "mix", (2, None)),))
        mix = table("mix", space)
    again = replace(mix, plan=replace(mix.plan, held=Parameters()))
    assert again.work()[1].tolist() == [[0.0, 0.0]]
