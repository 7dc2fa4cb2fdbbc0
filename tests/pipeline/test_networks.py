"""Whole networks: those of policies, and what they cost beyond their operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import SHAPE, model, write_table

from automl.errors import TableError
from automl.latency.table import LatencyTable
from automl.network.traced_model import TracedModel, trace_network
from automl.pipeline.networks import (
    fit_networks,
    input_shape,
    integers,
    network_of,
    timed_onnx,
)
from automl.pipeline.requests import Event, ignore
from automl.policy.policy import Bits, Policy
from automl.policy.precisions import Precisions
from automl.profiling.runner import LocalRunner
from automl.space import build_space
from toy_kind import known


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    return trace_network(model(), SHAPE, resolutions=(12, 16))


def test_the_network_of_a_policy_has_its_shapes_and_its_input(traced: TracedModel) -> None:
    policy = Policy({"block.inner": 4}, resolution=12)
    made, shape = network_of(traced, policy)
    assert shape == input_shape(traced, policy) == (1, 3, 12, 12)
    assert made.get_submodule("block.inner").weight.shape[0] == 4  # type: ignore[union-attr,index]
    with known():
        further = Policy({"block.inner": 4}, further={"taper": {"block.inner": "rank 2"}})
        lowered, _ = network_of(traced, further)
    column = lowered.get_submodule("block.inner.0").weight
    assert column.shape[0] == 2  # type: ignore[union-attr,index]
    removed, shape = network_of(traced, Policy(removed=frozenset({"block"})))
    assert shape == SHAPE
    assert not list(removed.get_submodule("block").parameters())


def test_the_overhead_is_fitted_on_networks_that_were_measured(
    traced: TracedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl.pipeline.networks.FIT_NETWORKS", 4)
    monkeypatch.setattr("automl.pipeline.networks.FIT_SECONDS", 0.5)
    table = LatencyTable.read(write_table(tmp_path / "board.jsonl"))
    space = build_space(traced.network, round_to=4)
    events: list[Event] = []
    with LocalRunner(threads=1) as runner:
        fitted = fit_networks(traced, table, space, runner, 0, events.append)
    assert fitted.networks[0].name == "dense"
    assert len(fitted.networks) == fitted.overhead.networks == events[-1].total
    assert all(each.measured_seconds > 0 for each in fitted.networks)
    errors = [abs(e.predicted_seconds / e.measured_seconds - 1) for e in fitted.networks]
    assert fitted.known_error.relative == pytest.approx(np.mean(errors), abs=1e-3)
    assert traced.network.fingerprint[:8] in fitted.known_error.on
    empty = LatencyTable(table.header)
    with LocalRunner(threads=1) as runner, pytest.raises(TableError, match="cannot price"):
        fit_networks(traced, empty, space, runner, 0, ignore)


def test_the_network_of_all_integers(traced: TracedModel, tmp_path: Path) -> None:
    offered = Precisions(("fp32", "int8"))
    space = build_space(traced.network, round_to=16, depth=False, precisions=offered.bits)
    policy = space.decode(integers(space))
    assert set(policy.bits.values()) == {Bits(8, 8)}
    table = LatencyTable.read(write_table(tmp_path / "board.jsonl", "fp32", "int8"))
    quantised = timed_onnx(traced, policy, table.header)
    assert b"QuantizeLinear" in quantised
    assert b"QuantizeLinear" not in timed_onnx(traced, Policy(), table.header)
