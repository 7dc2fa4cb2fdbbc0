"""Alternatives of units are measured, priced and made as what they are."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from merging_networks import Chain

from automl.agents.registry import AGENTS, make_agent
from automl.compression import CompressionConfig, Compressor, measure_sensitivity
from automl.compression.kinds.base import compression_kind
from automl.cost import (
    Budget,
    build_cost_model,
    operators_of,
    required_keys,
    with_bits_that_run,
)
from automl.cost.budget import Limit
from automl.errors import SpaceError
from automl.export import count_macs
from automl.network import trace_network
from automl.policy import FP32, Bits, Policy, Precisions
from automl.solver import solve
from automl.space import Sensitivity, Space, SpaceSettings, kind_of, open_space
from automl.study import Problem
from automl.testing import KindContract, run
from automl.testing.networks import SHAPE, compressor_of, drawn

KIND = "alternative"


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automl.compression.blocks.library.STEPS", 5)


class TestAlternative(KindContract):
    """Of a residual branch."""

    name = KIND


class TestAlternativesOfChains(KindContract):
    """Of three convolutions of which one strides, and of a branch with a depthwise layer."""

    name = KIND

    def compressor(self) -> Compressor:
        return made()


def made() -> Compressor:
    traced = trace_network(drawn(Chain, 0).eval(), SHAPE, resolutions=(6,))
    return compressor_of(traced, CompressionConfig())


def space_of(compressor: Compressor, **settings: Any) -> Space:
    network = compressor.traced.network
    return open_space(network, SpaceSettings(**{"kinds": (KIND,), "round_to": 4} | settings))


def measured(compressor: Compressor, space: Space) -> Sensitivity:
    return measure_sensitivity(
        compressor.database, space, compressor.images[:], library=compressor.library
    )


def test_what_is_open() -> None:
    compressor = made()
    space = space_of(compressor)
    found = {space.variables[each].name: space.variables[each] for each in space.of_kind(KIND)}
    assert found["a"].options == ("fire", "separable-relu", "half-width", "dense")
    assert found["body.expand"].options == ("fire", "half-width", "dense")  # it is separable
    assert not open_space(compressor.traced.network, SpaceSettings()).of_kind(KIND)
    some = space_of(compressor, alternatives=("fire",))
    assert all(some.variables[each].options == ("fire", "dense") for each in some.of_kind(KIND))


def test_every_policy_costs_what_is_made_of_it() -> None:
    """With channels, the block and the resolution."""
    compressor = made()
    network, space = compressor.traced.network, space_of(compressor)
    costs = build_cost_model(network, space, None)
    vectors = space.random(40, np.random.default_rng(0))
    factors, whole = costs.factors()
    assert whole
    for vector in map(space.canonical, vectors):
        policy = space.decode(vector)
        found = costs.cost(policy)
        model = compressor.make(policy, finish=False)
        assert found.bytes == 4 * sum(each.numel() for each in model.parameters())
        size = policy.resolution or SHAPE[-1]
        assert found.macs == count_macs(model, (*SHAPE[:2], size, size)).macs
        assert {*operators_of(network, policy, FP32)} <= {*required_keys(network, space)}
        summed = sum(each.table[tuple(vector[[*each.scope]])] for each in factors)
        np.testing.assert_allclose(summed[1:3], [found.macs, found.bytes])


def test_what_is_chosen_inside_means_nothing_where_something_else_runs() -> None:
    compressor, both = made(), Precisions(("fp32", "int8"))
    space = space_of(compressor, precisions=both.bits)
    policy = Policy(
        {"body.expand": 4},
        bits={"body.depth": Bits(8, 8), "head": Bits(8, 8)},
        further={KIND: {"body.expand": "fire"}},
    )
    kept = space.decode(space.encode(policy))
    assert kept.channels["body.expand"] == 16
    assert kept.bits["body.depth"] == Bits()
    assert kept.bits["head"] == Bits(8, 8)
    network = compressor.traced.network
    lean = with_bits_that_run(network, kept)
    gone = kept.bits.keys() - lean.bits.keys()
    assert gone == {"body.expand", "body.depth", "body.project"}
    assert operators_of(network, lean, both) == operators_of(network, kept, both)


def test_what_cannot_be_is_refused() -> None:
    compressor = made()
    with pytest.raises(SpaceError, match="alternative and bits of 'a' cannot both be chosen"):
        space_of(compressor, precisions=(Bits(4, 4), Bits(8, 8)))
    with pytest.raises(SpaceError, match="cannot both be open"):
        space_of(compressor, kinds=(KIND, "merge"))
    with pytest.raises(SpaceError, match="of 'body\\.expand' cannot be separable-relu"):
        compressor.make(Policy(further={KIND: {"body.expand": "separable-relu"}}))
    with pytest.raises(SpaceError, match=r"no convolutions in a row begin there .did you mean a"):
        compressor.make(Policy(further={KIND: {"aa": "fire"}}))
    with pytest.raises(SpaceError, match="'gone' is neither 'dense' nor one of fire"):
        compressor.make(Policy(further={KIND: {"a": "gone"}}))
    with pytest.raises(SpaceError, match="bits of 'b' cannot both be"):
        compressor.make(Policy(bits={"b": Bits(8, 8)}, further={KIND: {"a": "fire"}}))
    with pytest.raises(ValueError, match="neither"):
        compression_kind(kind_of(KIND)).parse("gone")
    space = space_of(compressor)
    with pytest.raises(SpaceError, match="cannot be measured untrained"):
        measure_sensitivity(compressor.database, space, compressor.images[:2])


def test_bits_go_beside_it() -> None:
    """What runs in a unit's place computes in float, other layers in integers."""
    compressor = made()
    policy = Policy(bits={"head": Bits(8, 8)}, further={KIND: {"a": "separable-relu"}})
    model = compressor.make(policy)
    with torch.no_grad():
        found = model(compressor.images[:])
        plain = compressor.make(Policy(further=policy.further))(compressor.images[:])
    assert float((found - plain).square().mean()) < 0.01 * float(plain.var())


def test_measuring_leaves_the_bench_as_it_was() -> None:
    compressor = made()
    before = [type(each) for each in compressor.database.model.modules()]
    measured(compressor, space_of(compressor))
    assert [type(each) for each in compressor.database.model.modules()] == before


def problem(share: float = 0.4) -> Problem:
    """Channels, the block and alternatives, by measured sensitivity, at a share of the MACs."""
    compressor = made()
    space = space_of(compressor)
    costs = build_cost_model(compressor.traced.network, space, None)
    budget = Budget((Limit("macs", share * costs.dense.macs),))
    return Problem(space, costs, budget, measured(compressor, space))


def replaces(policy: Policy) -> bool:
    return any(each != "dense" for each in policy.further.get(KIND, {}).values())


@pytest.mark.parametrize("name", AGENTS.ours)
def test_agents_choose_alternatives_or_hold_units(name: str) -> None:
    some = problem()
    if name == "haq":
        with pytest.raises(SpaceError):
            make_agent(name, some)
        return
    done = run(make_agent(name, some), some, 24)  # checks that each is legal and fits
    assert done
    if name in ("amc", "three-dims", "uniform"):
        assert not any(replaces(trial.policy) for trial in done)
    elif name in ("lagrangian", "random"):
        assert any(replaces(trial.policy) for trial in done)


def test_the_optimum_is_that_of_all_policies() -> None:
    some = problem(0.3)
    assert some.sensitivity is not None
    single = some.sensitivity.single
    grid = np.array([*itertools.product(*map(range, some.space.sizes))], dtype=np.int16)
    grid = np.unique(some.space.canonical(grid), axis=0)
    fits = grid[some.budget.allows_all(some.costs.price(grid))]
    lost = sum(each[fits[:, place]] for place, each in enumerate(single))
    found = solve(some.costs, single, some.budget)
    own = sum(float(each[option]) for each, option in zip(single, found.vector, strict=True))
    assert own == pytest.approx(float(np.min(lost)))
