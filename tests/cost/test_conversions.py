"""Prices of bits against the same network counted another way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from automl.cost import Budget, CostModel, Limit, build_cost_model, required_keys
from automl.cost.factors import Overhead
from automl.cost.grids import INTEGER
from automl.cost.operators import operators_of
from automl.network.layers import Layer
from automl.policy.policy import Bits, Policy
from automl.policy.precisions import Precisions
from automl.profiling.integer import INTEGER_OPERATORS
from automl.solver.exact import solve
from automl.space import Space, Vectors, build_space
from bits_networks import FLOAT, INT8, Prices, counted, traced

TARGET = Precisions(("fp32", "int8"))


def space(**options: object) -> Space:
    network = traced().network
    kept = {group.name: group.channels // 2 for group in network.groups}
    options = {"precisions": TARGET.bits, "round_to": kept, **options}
    return build_space(network, **options)  # type: ignore[arg-type]


def model(**options: object) -> CostModel:
    return build_cost_model(traced().network, space(), Prices(), precisions=TARGET, **options)  # type: ignore[arg-type]


def test_every_layer_with_weights_has_its_bits_and_blocks_hold_theirs() -> None:
    found = space()
    names = [found.variables[i].name for i in found.of_kind("bits")]
    assert names[0] == "stem"
    assert names[-1] == "head"
    assert len(names) == 9
    assert all(found.variables[i].options == (INT8, FLOAT) for i in found.of_kind("bits"))
    gate = found.positions["block", "early.1"]
    inner = {found.variables[i].name for i in dict(found.nested)[gate]}
    assert {"early.1.first", "early.1.second"} <= inner


def test_prices_are_those_of_the_network_that_is_left() -> None:
    costs = model()
    vectors = costs.space.random(400, np.random.default_rng(0))
    expected = [counted(costs.space.decode(vector)) for vector in vectors]
    np.testing.assert_allclose(costs.price(vectors)[:, 0], expected, rtol=1e-12)
    assert len({tuple(sorted(costs.space.decode(each).removed)) for each in vectors}) == 8


def test_operators_that_run_on_integers_are_those_that_are_measured_so() -> None:
    assert {*INTEGER, "convert"} == {*INTEGER_OPERATORS}


def test_all_that_is_priced_is_asked_for_and_each_conversion_once_a_value() -> None:
    asked = set(required_keys(traced().network, space(), precisions=TARGET))
    prices = Prices()
    build_cost_model(traced().network, space(), prices, precisions=TARGET)
    assert set(prices.asked) == asked
    assert {key.detail for key in asked if key.op == "convert"} == {"quantize", "dequantize"}
    assert not [key for key in asked if key.op == "activation" and key.precision == "int8"]
    stem_alone = Policy(bits={"stem": INT8})
    keys = operators_of(traced().network, stem_alone, TARGET)
    converted = [key.detail for key in keys if key.op == "convert"]
    assert sorted(converted) == ["dequantize", "quantize"]  # two readers, one conversion
    assert sum(map(Prices.price, keys)) <= model().cost(stem_alone).latency


def test_factors_hold_all_of_it_and_bind_what_removed_blocks_pass_on() -> None:
    costs = model(overhead=Overhead(1.1, 2e-7, 1e-6))
    factors, whole = costs.factors()
    assert whole
    assert costs.auxiliary == (2, 2, 2)
    vectors = costs.space.random(40, np.random.default_rng(2))
    prices = costs.price(vectors)[:, 0]
    dearest = costs.price(costs.space.random(500, np.random.default_rng(3)))[:, 0].max()
    for vector, price in zip(vectors, prices, strict=True):
        sums = []
        for auxiliary in itertools.product(*map(range, costs.auxiliary)):
            whole_vector = np.array([*vector, *auxiliary])
            terms = [each.table[tuple(whole_vector[list(each.scope)])][0] for each in factors]
            sums.append(costs.constant[0] + sum(terms))
        assert np.isclose(min(sums), price, rtol=1e-12)
        assert sum(each < dearest for each in sums) == 1


def within(costs: CostModel, budget: Budget) -> tuple[Vectors, np.ndarray]:
    shape = [range(size) for size in costs.space.sizes]
    vectors = np.unique(
        costs.space.canonical(np.array([*itertools.product(*shape)], dtype=np.int16)), axis=0
    )
    return vectors, budget.allows_all(costs.price(vectors))


@pytest.mark.parametrize("share", [0.35, 0.5, 0.7])
def test_the_solver_is_exact_with_bits_blocks_and_joint_harm(share: float) -> None:
    network = traced().network
    small = build_space(network, round_to=64, precisions=TARGET.bits)  # blocks and bits alone
    costs = build_cost_model(network, small, Prices(), precisions=TARGET)
    generator = np.random.default_rng(4)
    sensitivity = [
        np.array([*generator.uniform(0.1, 1.0, size - 1), 0.0], dtype=np.float64)
        for size in small.sizes
    ]
    bits = small.of_kind("bits")
    pairwise = tuple(
        ((a, b), generator.uniform(0.0, 0.5) * np.array([[1.0, 0.0], [0.0, 0.0]]))
        for a, b in itertools.pairwise(bits)
    )
    budget = Budget((Limit("latency", share * costs.dense.latency),))
    found = solve(costs, sensitivity, budget, pairwise=pairwise)
    vectors, allowed = within(costs, budget)
    sensitivities = np.sum(
        [each[column] for each, column in zip(sensitivity, vectors.T, strict=True)], axis=0
    )
    sensitivities += np.sum(
        [table[vectors[:, a], vectors[:, b]] for (a, b), table in pairwise], axis=0
    )
    assert found.proven
    assert np.isclose(found.sensitivity, sensitivities[allowed].min(), atol=1e-12)
    assert budget.allows_all(found.costs)
    held = {bits[0]: 0}
    firm = solve(costs, sensitivity, budget, held, pairwise)
    assert np.isclose(
        firm.sensitivity, sensitivities[allowed & (vectors[:, bits[0]] == 0)].min(), atol=1e-12
    )


def test_held_first_and_last_layers_are_named_and_the_dense_network_is_float() -> None:
    kept = space(keep_first_last=True)
    costs = build_cost_model(traced().network, kept, Prices(), precisions=TARGET)
    policy = kept.decode(kept.dense)
    assert policy.bits["stem"] == policy.bits["head"] == INT8
    assert policy.bits["wide"] == FLOAT
    assert np.isclose(costs.dense.latency, counted(Policy()))
    assert np.isclose(costs.cost(policy).latency, counted(policy))
    vectors = kept.random(50, np.random.default_rng(1))
    expected = [counted(kept.decode(vector)) for vector in vectors]
    np.testing.assert_allclose(costs.price(vectors)[:, 0], expected, rtol=1e-12)


def test_weights_rounded_alone_change_the_size_and_not_the_time() -> None:
    found = space(precisions=(), weight_only=(2, 4), round_to=64)
    assert found.variables[found.positions["bits", "stem"]].options == (
        Bits(2, 32),
        Bits(4, 32),
        FLOAT,
    )
    costs = build_cost_model(traced().network, found, Prices(), precisions=TARGET)
    dense, small = costs.dense, costs.cost(Policy(bits={"early.0.first": Bits(4, 32)}))
    assert small.latency == dense.latency
    weights, biases, book = 8 * 8 * 9, 4 * 8, 4 * 16
    assert dense.bytes - small.bytes == 4 * weights + biases - (weights / 2 + book + biases)


def test_a_simulator_prices_layers_with_weights_and_no_conversion() -> None:
    simulator = Precisions(("w2a2", "w4a4", "w8a8"), simulated=True)
    found = space(precisions=simulator.bits, round_to=64)
    assert found.variables[found.positions["bits", "stem"]].options[-1] == Bits(8, 8)
    asked = required_keys(traced().network, found, precisions=simulator)
    assert {key.op for key in asked} == {"conv2d", "linear"}
    assert {key.precision for key in asked} == set(simulator.names)
    assert {key.layer() for key in asked} == {
        Layer(**{**fields(layer), "name": ""})
        for layer in traced().network.layers
        if layer.op in ("conv2d", "linear")
    }


def fields(layer: Layer) -> dict[str, object]:
    return {name: getattr(layer, name) for name in Layer.__slots__}
