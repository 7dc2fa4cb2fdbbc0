"""The operators of one policy's network are those that it is priced from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from automl.compression import FORMS
from automl.cost import build_cost_model, required_keys
from automl.cost.operators import operators_of
from automl.errors import SpaceError
from automl.latency.keys import OpKey, Timings
from automl.latency.rows import Row, parse_row, row_line
from automl.network import trace_network
from automl.network.layers import Layer
from automl.policy.policy import Bits, Policy
from automl.policy.precisions import FP32, Precisions
from automl.space import SpaceSettings, build_space, open_space
from bits_networks import INT8, Prices, traced
from handmade import Formula, network

TARGET = Precisions(("fp32", "int8"))


def test_the_keys_of_a_policy_are_what_it_is_priced_from() -> None:
    everything = Prices()
    halves = {group.name: group.channels // 2 for group in traced().network.groups}
    space = build_space(traced().network, precisions=TARGET.bits, round_to=halves)
    costs = build_cost_model(traced().network, space, everything, precisions=TARGET)
    for vector in costs.space.random(30, np.random.default_rng(5)):
        policy = costs.space.decode(vector)
        keys = operators_of(traced().network, policy, TARGET)
        assert set(keys) <= set(everything.asked)
        blind = build_cost_model(
            traced().network, costs.space, Only(keys), precisions=TARGET, allow_missing=True
        )
        assert np.isclose(blind.cost(policy).latency, costs.cost(policy).latency, rtol=1e-12)


class Only(Prices):
    """Prices some keys, the others at nothing."""

    def __init__(self, keys: list[OpKey]) -> None:
        super().__init__()
        self.keys = set(keys)

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        timings = super().lookup(keys)
        timings.seconds[:] *= [key in self.keys for key in keys]
        return timings


def test_in_float_they_are_the_layers_that_are_left() -> None:
    space = build_space(network(), round_to=4)
    costs = build_cost_model(network(), space, Formula(), counts=64)
    for vector in space.random(30, np.random.default_rng(1)):
        policy = space.decode(vector)
        keys = operators_of(network(), policy, FP32)
        layers = network().shapes(policy.channels, policy.removed, policy.resolution)
        assert {key.layer() for key in keys} == {named(layer) for layer in layers}
        assert len(keys) == len(set(keys))
        assert costs.cost(policy).latency >= sum(map(Formula.price, keys)) - 1e-12


def named(layer: Layer) -> Layer:
    return replace(layer, name="")


def test_without_bits_nothing_is_converted() -> None:
    keys = operators_of(traced().network, Policy(), TARGET)
    assert {key.precision for key in keys} == {"fp32"}
    keys = operators_of(traced().network, Policy(bits={"stem": INT8}), TARGET)
    assert {key.detail for key in keys if key.op == "convert"} == {"quantize", "dequantize"}


def test_what_a_removed_block_passes_on_keeps_its_precision() -> None:
    gone = Policy(removed=frozenset({"early.1"}), bits={"early.1.second": INT8})
    keys = operators_of(traced().network, gone, TARGET)
    assert not [key for key in keys if key.op == "convert"]  # its bits went with it
    kept = operators_of(traced().network, Policy(bits=gone.bits), TARGET)
    assert [key for key in kept if key.op == "convert"]


def test_a_simulator_runs_layers_with_weights_alone() -> None:
    simulator = Precisions(("w2a2", "w8a8"), simulated=True)
    keys = operators_of(traced().network, Policy(bits={"stem": Bits(2, 2)}), simulator)
    assert {key.op for key in keys} == {"conv2d", "linear"}
    assert [key.precision for key in keys].count("w2a2") == 1


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SpaceError, match="no kind of choice 'rank'"):
        operators_of(network(), Policy(further={"rank": {"mix": "4"}}), FP32)


MAPS = nn.Sequential(
    nn.Conv2d(3, 8, 4, padding="same"),
    nn.ReLU(),
    nn.Conv2d(8, 8, (3, 5), stride=(2, 1), padding=(1, 2)),
    nn.ConstantPad2d((0, 1, 1, 0), 0.0),
    nn.Conv2d(8, 8, 3, stride=2, dilation=2),
    nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1, output_padding=1),
    nn.ConvTranspose2d(8, 8, 2, stride=2, dilation=3),
    nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular", groups=8),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(8, 2),
)
LINES = nn.Sequential(
    nn.Conv1d(3, 8, 4, padding="same"), nn.ConvTranspose1d(8, 8, 4, stride=2, padding=1)
)
KERNELS = nn.Sequential(
    nn.Conv2d(3, 16, 5, stride=2, padding=2),
    nn.ReLU(),
    nn.Conv2d(16, 16, 7, padding=3),
    nn.ReLU(),
    nn.Conv2d(16, 16, (3, 5), stride=(2, 1), padding=(0, 1)),
    nn.ReLU(),
    nn.Conv2d(16, 16, 3, padding=2, dilation=2),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(16, 4),
)
VOLUMES = nn.Sequential(nn.Conv3d(3, 8, (1, 3, 3), padding=(0, 1, 1)), nn.ConvTranspose3d(8, 4, 2))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (MAPS, (1, 3, 17, 16)),
        (LINES, (1, 3, 31)),
        (VOLUMES, (1, 3, 3, 9, 8)),
        (KERNELS, (1, 3, 40, 37)),
    ],
    ids=["maps", "lines", "volumes", "kernels"],
)
def test_every_operator_can_be_written_and_read(model: nn.Module, shape: tuple[int, ...]) -> None:
    network = trace_network(model.eval(), shape, resolutions=()).network
    settings = SpaceSettings(round_to=4, kinds=["channels", "form"], forms=FORMS.names())
    for key in required_keys(network, open_space(network, settings)):
        assert parse_row(row_line(Row(key, 1e-6)), "seconds", "here").key == key
