"""Merges are measured, priced and made as what they are."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from merging_networks import Chain
from torch import nn

from automl.agents.registry import AGENTS, make_agent
from automl.compression import CompressionConfig, Compressor, measure_sensitivity
from automl.compression.kinds.base import compression_kind
from automl.cost import Budget, build_cost_model, operators_of, required_keys
from automl.cost.budget import Limit
from automl.errors import SpaceError
from automl.export import count_macs
from automl.network import trace_network
from automl.policy import FP32, Bits, Policy
from automl.solver import solve
from automl.space import Space, SpaceSettings, kind_of, open_space
from automl.study import Problem
from automl.testing import KindContract, run
from automl.testing.networks import SHAPE, compressor_of, drawn


class TestMerge(KindContract):
    """Of a residual branch."""

    name = "merge"


class TestMergeOfChains(KindContract):
    """Of two pairs in a row, and of a branch with a depthwise layer in the middle."""

    name = "merge"

    def compressor(self) -> Compressor:
        return made()


def made() -> Compressor:
    traced = trace_network(drawn(Chain, 0).eval(), SHAPE, resolutions=(6,))
    return compressor_of(traced, CompressionConfig())


def space_of(compressor: Compressor, **settings: object) -> Space:
    network = compressor.traced.network
    return open_space(network, SpaceSettings(kinds=("merge",), round_to=4, **settings))  # type: ignore[arg-type]


def test_what_is_open() -> None:
    compressor = made()
    space = space_of(compressor)
    assert [space.variables[each].name for each in space.of_kind("merge")] == [
        "a",
        "b",
        "body.expand",
    ]
    assert not open_space(compressor.traced.network, SpaceSettings()).of_kind("merge")


def test_every_policy_costs_what_is_made_of_it() -> None:
    """Merges with channels, the block, the resolution, and each other."""
    compressor = made()
    network, space = compressor.traced.network, space_of(compressor)
    costs = build_cost_model(network, space, None)
    fixed = [space.positions["merge", name] for name in ("a", "b", "body.expand")]
    vectors = space.random(24, np.random.default_rng(0))
    some = np.concatenate([vectors, np.tile(space.dense, (8, 1))])
    some[-8:, fixed] = [*itertools.product((0, 1), repeat=3)]
    factors, whole = costs.factors()
    assert whole
    for vector in map(space.canonical, some):
        policy = space.decode(vector)
        found = costs.cost(policy)
        model = compressor.make(policy, finish=False)
        assert found.bytes == 4 * sum(each.numel() for each in model.parameters())
        size = policy.resolution or SHAPE[-1]
        assert found.macs == count_macs(model, (*SHAPE[:2], size, size)).macs
        assert {*operators_of(network, policy, FP32)} <= {*required_keys(network, space)}
        summed = sum(each.table[tuple(vector[[*each.scope]])] for each in factors)
        np.testing.assert_allclose(summed[1:3], [found.macs, found.bytes])


def test_two_in_a_row_are_measured_together() -> None:
    compressor = made()
    space = space_of(compressor, depth=False)
    images = compressor.images[:]
    found = measure_sensitivity(
        compressor.database, space, images, rounded=compressor.joint, merging=compressor.merging
    )
    pairs = dict(found.pairwise)
    one, other = (space.positions["merge", name] for name in ("a", "b"))
    table = pairs[one, other]
    assert np.count_nonzero(table) == 1
    both = compressor.make(Policy(further={"merge": {"a": "merged", "b": "merged"}}), finish=False)
    with torch.no_grad():
        dense = compressor.traced.model(images)
        gap = (both(images) - dense).square().mean(0) / dense.var(0, correction=0)
    alone = found.single[one][0] + found.single[other][0]
    assert alone + table[0, 0] == pytest.approx(float(gap.mean()), rel=0.05)


def test_what_is_chosen_inside_means_nothing_when_it_is_merged() -> None:
    space = space_of(made(), precisions=(Bits(8, 8), Bits()))
    policy = Policy(
        {"body.expand": 4},
        bits={"body.depth": Bits(8, 8), "head": Bits(8, 8)},
        further={"merge": {"body.expand": "merged"}},
    )
    kept = space.decode(space.encode(policy))
    assert kept.channels["body.expand"] == 16
    assert kept.bits["body.depth"] == Bits()
    assert kept.bits["head"] == Bits(8, 8)


def test_texts_that_are_no_option_are_refused() -> None:
    kind = compression_kind(kind_of("merge"))
    with pytest.raises(ValueError, match="neither 'merged' nor 'dense'"):
        kind.parse("gone")


def test_it_is_not_measured_without_the_images() -> None:
    compressor = made()
    with pytest.raises(SpaceError, match="cannot be measured"):
        measure_sensitivity(compressor.database, space_of(compressor), compressor.images[:2])


def test_measuring_leaves_the_bench_as_it_was() -> None:
    compressor = made()
    before = [type(each) for each in compressor.database.model.modules()]
    measure_sensitivity(
        compressor.database, space_of(compressor), compressor.images[:4], merging=compressor.merging
    )
    assert [type(each) for each in compressor.database.model.modules()] == before
    assert isinstance(compressor.database.model, nn.Module)


def problem(share: float = 0.5) -> Problem:
    """Channels, the block and merges, by measured sensitivity, at a share of the MACs."""
    compressor = made()
    space = space_of(compressor)
    costs = build_cost_model(compressor.traced.network, space, None)
    budget = Budget((Limit("macs", share * costs.dense.macs),))
    found = measure_sensitivity(
        compressor.database, space, compressor.images[:], merging=compressor.merging
    )
    return Problem(space, costs, budget, found)


def makes(policy: Policy) -> bool:
    return "merged" in policy.further.get("merge", {}).values()


@pytest.mark.parametrize("name", AGENTS.ours)
def test_agents_choose_merges_or_hold_layers_apart(name: str) -> None:
    some = problem()
    if name == "haq":
        with pytest.raises(SpaceError):
            make_agent(name, some)
        return
    done = run(make_agent(name, some), some, 24)  # checks that each is legal and fits
    assert done
    if name in ("amc", "three-dims", "uniform"):
        assert not any(makes(trial.policy) for trial in done)
    elif name in ("lagrangian", "greedy", "random"):
        assert any(makes(trial.policy) for trial in done)


def test_the_optimum_is_that_of_all_policies() -> None:
    """With what two merges in a row do together."""
    some = problem(0.35)
    assert some.sensitivity is not None
    single, pairwise = some.sensitivity.single, some.sensitivity.pairwise
    sizes = some.space.sizes
    grid = np.array([*itertools.product(*map(range, sizes))], dtype=np.int16)
    grid = np.unique(some.space.canonical(grid), axis=0)
    fits = grid[some.budget.allows_all(some.costs.price(grid))]

    def lost(vector: Any) -> float:
        alone = sum(each[option] for each, option in zip(single, vector, strict=True))
        return float(alone + sum(table[vector[a], vector[b]] for (a, b), table in pairwise))

    found = solve(some.costs, single, some.budget, pairwise=pairwise)
    assert lost(found.vector) == pytest.approx(min(map(lost, fits)))
    assert makes(some.space.decode(found.vector)) == any(
        makes(some.space.decode(vector)) for vector in fits if lost(vector) <= lost(found.vector)
    )
