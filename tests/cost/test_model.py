import math
import warnings
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from automl.cost import (
    Budget,
    CostModel,
    Limit,
    Overhead,
    build_cost_model,
    operators_of,
    required_keys,
    resolve_budget,
)
from automl.cost import factors as cost_factors
from automl.cost.layer_tables import WEIGHTED
from automl.errors import TableError, UsageError
from automl.latency.keys import op_key
from automl.network.layers import UNPRICED, Layer, LayerPlan, Parameters, Width
from automl.policy import FP32, Precisions
from automl.policy.policy import Bits, Policy
from automl.space import Space, Variable, build_space
from automl.units import BudgetText
from handmade import Formula, network

EXACT = 64


def by_hand(policy: Policy) -> tuple[float, int, int]:
    """Seconds, MACs and bytes as the plain sum over the layers that the policy leaves."""
    layers = network().shapes(policy.channels, policy.removed, policy.resolution)
    seconds = sum(Formula.price(op_key(layer)) for layer in layers)
    size = sum(
        4 * (layer.out_channels + math.prod(layer.kernel) * connected(layer))
        for layer in layers
        if layer.op in WEIGHTED
    )
    return seconds, sum(layer.macs for layer in layers), size


def connected(layer: Layer) -> int:
    return layer.in_channels * layer.out_channels // layer.groups


def model(counts: int = EXACT, round_to: int = 2, **options: object) -> CostModel:
    space = build_space(network(), round_to=round_to)
    return build_cost_model(network(), space, Formula(), counts=counts, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("entries", [1 << 16, 400, 1])
def test_prices_are_the_sum_over_the_layers(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_factors, "JOINT_ENTRIES", entries)
    costs = model()
    _, whole = costs.factors()
    assert whole == (entries == 1 << 16)
    vectors = costs.space.random(200, np.random.default_rng(0))
    priced = costs.price(vectors)
    expected = np.array([by_hand(costs.space.decode(vector)) for vector in vectors])
    np.testing.assert_allclose(priced[:, 0], expected[:, 0], rtol=1e-12)
    assert np.array_equal(priced[:, 1:3], expected[:, 1:])
    assert np.isnan(priced[:, 3]).all()


def test_one_policy_costs_what_the_batch_says() -> None:
    costs = model()
    for vector in costs.space.random(20, np.random.default_rng(1)):
        cost = costs.cost(costs.space.decode(vector))
        assert np.array_equal(cost.values(), costs.price(vector[None])[0], equal_nan=True)
    assert costs.dense.macs == sum(layer.macs for layer in network().layers)


def test_factors_add_up_to_the_price() -> None:
    costs = model(overhead=Overhead(1.1, 2e-6, 3e-4))
    factors, whole = costs.factors()
    assert whole
    vectors = costs.space.random(50, np.random.default_rng(2))
    total = np.tile(costs.constant, (50, 1))
    for factor in factors:
        assert list(factor.scope) == sorted(set(factor.scope))
        total += factor.table[tuple(vectors[:, list(factor.scope)].T)]
    np.testing.assert_allclose(total[:, :3], costs.price(vectors)[:, :3], rtol=1e-12)


def test_overhead_is_scale_per_operator_and_constant() -> None:
    costs = model(overhead=Overhead(scale=1.25, per_operator=1e-5, constant=1e-3))
    for vector in costs.space.random(20, np.random.default_rng(3)):
        policy = costs.space.decode(vector)
        count = len(network().shapes(policy.channels, policy.removed, policy.resolution))
        expected = 1.25 * by_hand(policy)[0] + 1e-5 * count + 1e-3
        cost = costs.cost(policy)
        assert math.isclose(cost.latency, expected, rel_tol=1e-12)
        assert math.isclose(cost.fitted, (1e-5 * count + 1e-3) / expected)
        assert math.isclose(cost.measured + cost.fitted, 1.0)


def test_priced_counts_are_a_grid_and_the_gaps_are_interpolated() -> None:
    space = build_space(network(), round_to=1, resolutions=[32], depth=False)
    pricer = Formula()
    costs = build_cost_model(network(), space, pricer, counts=3)
    assert set(pricer.asked) == set(required_keys(network(), space, counts=3))
    assert len(pricer.asked) == len(set(pricer.asked))
    heads = sorted(key.in_channels for key in pricer.asked if key.op == "linear")
    assert heads == [1, 9, 16]  # the middle one of sixteen options, rounded to an option
    at = {count: costs.cost(Policy({"stem": count})) for count in heads}
    assert at[16].measured == 1.0
    between = costs.cost(Policy({"stem": 12}))
    assert 0.0 < between.interpolated < 1.0
    assert math.isclose(between.measured + between.interpolated, 1.0)
    # Every layer that depends on the stem is linear in it between the priced counts.
    expected = at[9].latency + (at[16].latency - at[9].latency) * 3 / 7
    assert math.isclose(between.latency, expected, rel_tol=1e-9)


def test_sources_are_shares_of_the_latency() -> None:
    space = build_space(network(), round_to=4)
    shares = []
    for source in range(3):
        cost = build_cost_model(network(), space, Formula(source), counts=EXACT).dense
        shares.append([cost.measured, cost.interpolated, cost.fitted])
    np.testing.assert_allclose(shares, np.eye(3), atol=1e-12)


def test_what_the_table_cannot_price_is_named() -> None:
    space = build_space(network(), round_to=4)
    with pytest.raises(TableError, match=r"cannot price .* x concat"):
        build_cost_model(network(), space, Formula(unknown="concat"))
    costs = build_cost_model(network(), space, Formula(unknown="concat"), allow_missing=True)
    assert math.isnan(costs.dense.latency)
    assert costs.dense.macs > 0


def test_without_prices_the_latency_is_not_known() -> None:
    space = build_space(network(), round_to=4)
    costs = build_cost_model(network(), space, None)
    assert math.isnan(costs.dense.latency)
    assert costs.dense.macs == model(round_to=4).dense.macs
    with pytest.raises(UsageError, match="no prices for latency"):
        resolve_budget([BudgetText("latency", 0.5, True)], costs.dense)
    assert not Budget((Limit("latency", 1.0),)).allows(costs.dense)


def test_bits_choose_the_precision_of_a_layer() -> None:
    base = build_space(network(), round_to=8, resolutions=[32], depth=False)
    options = (Bits(4, 6), Bits(8, 8), Bits(32, 32))
    space = Space((*base.variables, Variable("bits", "mix", options)))
    asked = required_keys(network(), space)
    mixed = {key.precision for key in asked if key.kernel == (3, 3) and key.in_channels > 3}
    assert mixed == {"fp32", "int8", "w4a6"}
    costs = build_cost_model(network(), space, Formula())
    float_bytes = costs.dense.bytes
    mix = next(layer for layer in network().layers if layer.name == "mix")
    weights = math.prod(mix.kernel) * connected(mix)
    for bits in options[:2]:
        quantised = costs.cost(Policy(bits={"mix": bits}))
        scales = 4 * mix.out_channels
        assert float_bytes - quantised.bytes == weights * (4 - bits.weights / 8) - scales


def test_a_weighted_operator_without_a_price_makes_a_bound() -> None:
    traced = network()
    odd = Layer("cdist_1", UNPRICED, 16, 8, in_size=(4, 1), out_size=(4, 1), detail="cdist in head")
    width = Width(16), Width(8)
    sizes = ((odd.in_size, odd.out_size),) * 2
    plan = LayerPlan(odd, *width, sizes, held=Parameters(fixed=128))
    whole = replace(traced, plans=(*traced.plans, plan))
    space = build_space(whole, round_to=2)
    found = build_cost_model(whole, space, Formula()).dense
    known = build_cost_model(traced, build_space(traced, round_to=2), Formula()).dense
    assert (found.unpriced, known.unpriced) == (("cdist in head",), ())
    assert found.latency == pytest.approx(known.latency)
    assert found.macs == known.macs + 16 * 8 * 4
    assert found.bytes == known.bytes + 4 * 128
    assert all(key.op != UNPRICED for key in required_keys(whole, space))
    assert all(key.op != UNPRICED for key in operators_of(whole, Policy(), FP32))
    assert build_cost_model(whole, space, None).dense.unpriced == ()  # no latency, no bound


def test_a_simulator_says_so_of_recurrent_layers() -> None:
    traced = network()
    lstm = Layer("rnn", "lstm", 16, 16, in_size=(4, 1), out_size=(4, 1))
    plan = LayerPlan(lstm, Width(16), Width(16), ((lstm.in_size, lstm.out_size),) * 2)
    whole = replace(traced, plans=(*traced.plans, plan))
    simulated = Precisions(("w8a8", "w4a4"), simulated=True)
    space = build_space(whole, round_to=2)
    assert build_cost_model(whole, space, Formula(), precisions=simulated).unpriced == (
        "lstm in rnn",
    )
    assert build_cost_model(whole, space, Formula()).unpriced == ()


def test_macs_are_those_of_fvcore() -> None:
    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 12, 5, stride=2, padding=1)
            self.grouped = torch.nn.Conv2d(12, 24, 3, padding=2, dilation=2, groups=4)
            self.depthwise = torch.nn.Conv2d(24, 24, 3, padding=1, groups=24)
            self.up = torch.nn.ConvTranspose2d(24, 6, 2, stride=2)
            self.head = torch.nn.Linear(6, 7)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = self.up(self.depthwise(self.grouped(self.conv(images))))
            return self.head(maps.mean((2, 3)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fvcore scripts when it is imported
        from fvcore.nn import FlopCountAnalysis
    counted: Mapping[str, int] = (
        FlopCountAnalysis(Small().eval(), torch.zeros(1, 3, 20, 20))
        .unsupported_ops_warnings(False)
        .by_module()
    )
    sizes = {"in_size": (9, 9), "out_size": (9, 9)}
    layers = [
        Layer("conv", "conv2d", 3, 12, (5, 5), (2, 2), in_size=(20, 20), out_size=(9, 9)),
        Layer("grouped", "conv2d", 12, 24, (3, 3), groups=4, **sizes),
        Layer("depthwise", "depthwise_conv2d", 24, 24, (3, 3), groups=24, **sizes),
        Layer("up", "conv_transpose2d", 24, 6, (2, 2), (2, 2), in_size=(9, 9), out_size=(18, 18)),
        Layer("head", "linear", 6, 7),
    ]
    assert {layer.name: layer.macs for layer in layers} == {
        layer.name: counted[layer.name] for layer in layers
    }
