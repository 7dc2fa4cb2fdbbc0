"""Without its squeeze-and-excitation a map is read as it is, by weights that take the mean gate."""

from __future__ import annotations

import pytest
import torch
from gated import SHAPE, GateBeforeSum, Gated

from automl.compression import (
    CompressionConfig,
    Compressor,
    measure_sensitivity,
    without_gates,
)
from automl.cost import build_cost_model, operators_of
from automl.export import count_macs
from automl.network import TracedModel, column_scales, laid_out, trace_network, units_of
from automl.policy import FP32, Policy
from automl.space import SpaceSettings, open_space
from automl.testing import BlockContract
from automl.testing.networks import compressor_of, drawn, made_images

KIND, ONE, TWO = "alternative", "one.se.reduce", "two.se.reduce"


def made() -> Compressor:
    model = drawn(Gated, 0).eval()
    with torch.no_grad():
        for block in (model.one, model.two):
            block.se.expand.weight.mul_(8)  # gates that differ from input to input
    return compressor_of(trace_network(model, SHAPE, resolutions=()), CompressionConfig())


def gone(*units: str, **others: object) -> Policy:
    return Policy(further={KIND: dict.fromkeys(units, "se-gone")}, **others)  # type: ignore[arg-type]


def error(compressor: Compressor, model: torch.nn.Module) -> float:
    images, dense = made_images(64, seed=5), compressor.traced.model
    with torch.no_grad():
        return float((model(images) - dense(images)).square().mean())


class TestSeGone(BlockContract):
    name = "se-gone"

    def traced(self) -> TracedModel:
        return trace_network(drawn(Gated, 0).eval(), SHAPE, resolutions=())


def test_nothing_of_the_gate_is_left_and_readers_are_solved_again() -> None:
    compressor = made()
    raw = compressor.make(gone(ONE, TWO), finish=False)
    finished = compressor.make(gone(ONE, TWO))
    assert not [name for name, _ in finished.named_modules() if ".se." in name]
    plain = without_gates(compressor.traced.network, gone(ONE, TWO))
    assert plain.removed == {"one.se", "two.se"}
    unscaled = compressor.make(plain, finish=False)  # gates taken for 1
    assert error(compressor, finished) < error(compressor, raw) < 0.5 * error(compressor, unscaled)


def test_a_gate_that_never_changes_is_no_loss() -> None:
    """Its number goes into the readers, whose channels may be cut, or grouped."""
    model = drawn(Gated, 0).eval()
    with torch.no_grad():
        for block in (model.one, model.two):
            block.se.expand.weight.zero_()
    compressor = compressor_of(trace_network(model, SHAPE, resolutions=()), CompressionConfig())
    assert error(compressor, compressor.make(gone(ONE, TWO), finish=False)) < 1e-9
    channels = {"one.up": 8}
    kept = compressor.make(Policy(channels), finish=False)
    without = compressor.make(gone(ONE, TWO, channels=channels), finish=False)
    images = made_images(8)
    torch.testing.assert_close(kept(images), without(images), atol=1e-5, rtol=1e-4)


def test_it_is_priced_as_what_is_left() -> None:
    """Of all choices together: with channels, the block, and other alternatives of the unit."""
    compressor = made()
    network = compressor.traced.network
    space = open_space(network, SpaceSettings(kinds=(KIND,), round_to=4))
    variable = next(each for each in space.variables if each.name == ONE)
    assert variable.options == ("half-width", "se-gone", "dense")
    costs = build_cost_model(network, space, None)
    for removed in (frozenset[str](), frozenset({"one"})):
        for forms in ({}, {ONE: "se-gone"}, {ONE: "half-width", TWO: "se-gone"}):
            policy = Policy({"one.up": 8}, removed=removed, further={KIND: forms})
            policy = space.decode(space.canonical(space.encode(policy)))
            found, model = costs.cost(policy), compressor.make(policy, finish=False)
            assert found.macs == count_macs(model, SHAPE).macs
            assert found.bytes == 4 * sum(each.numel() for each in model.parameters())
    without, whole = (
        {key.op for key in operators_of(network, policy, FP32)}
        for policy in (gone(ONE, TWO), Policy())
    )
    assert whole - without == {"mul"}


def test_what_is_read_by_a_sum_stays() -> None:
    """No weights alone read such a gate: nothing could take up what it multiplied with."""
    traced = trace_network(drawn(GateBeforeSum, 0).eval(), SHAPE, resolutions=())
    assert not traced.network.gates
    assert all(unit.gate is None for unit in units_of(traced.network))


def test_its_sensitivity_is_that_of_the_network_without_the_gate() -> None:
    compressor = made()
    space = open_space(compressor.traced.network, SpaceSettings(kinds=(KIND,), round_to=4))
    shown = made_images(16)
    found = measure_sensitivity(compressor.database, space, shown, library=compressor.library)
    dense = compressor.database.model
    shown = laid_out(dense, shown)  # as they are measured
    with torch.no_grad():
        scales = column_scales(dense(shown), len(shown))
        for place in space.of_kind(KIND):
            variable, row = space.variables[place], found.single[place]
            left = compressor.make(gone(variable.name), finish=False)
            expected = float(((left(shown) - dense(shown)).square() / scales).mean())
            at = variable.options.index("se-gone")
            assert row[at] == pytest.approx(expected, rel=1e-3, abs=1e-9)
