"""Prices of a target: what a table lacks is measured where it is this machine's."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import SHAPE, model, request, write_table

from automl.errors import TableError, TargetError
from automl.latency.targets import cpu_path, cpu_table
from automl.network.traced_model import TracedModel, trace_network
from automl.options import SearchOptions
from automl.pipeline import search
from automl.pipeline.pricing import price_network
from automl.pipeline.requests import Event, ignore


def timed(target: object) -> SearchOptions:
    """A search with a limit on the latency."""
    return SearchOptions(target=str(target), budget=("50%",), round_to=4)


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    return trace_network(model(), SHAPE, resolutions=(12, 16))


def test_a_search_on_this_machine_measures_what_it_needs_and_then_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl.pipeline.networks.FIT_NETWORKS", 2)
    monkeypatch.setattr("automl.pipeline.networks.FIT_SECONDS", 0.5)
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, half: 0.0)
    changes = {"round_to": 8, "depth": False, "resolutions": (), "trials": 2}
    events: list[Event] = []
    result = search(request("cpu", tmp_path / "run", "90%MACs", "10s", **changes), events.append)
    stages = [event.stage for event in events]
    assert "measuring operators" in stages
    assert "granularity" not in stages  # it is given
    assert len(cpu_table()) > 0
    for metrics in (result.dense, result.compressed):
        assert metrics.predicted_seconds is not None
        assert metrics.measured_seconds is not None
        assert metrics.predicted_seconds > 0 < metrics.measured_seconds
    assert result.policy.predicted.measured == pytest.approx(1.0)

    before = cpu_path().read_bytes()
    again: list[Event] = []
    search(request("cpu", tmp_path / "two", "90%MACs", "10s", **changes), again.append)
    measured = [event for event in again if event.stage in ("granularity", "measuring operators")]
    assert not measured  # all of it is in the table
    assert cpu_path().read_bytes() == before


def test_a_table_without_the_operators_and_without_a_fit_is_refused(
    traced: TracedModel, tmp_path: Path
) -> None:
    path = write_table(tmp_path / "board.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"linear"' not in line))
    with pytest.raises(TableError):
        price_network(traced, timed(path), on_event=ignore)


def test_a_target_that_nobody_knows_is_refused(traced: TracedModel) -> None:
    with pytest.raises(TargetError, match="no target 'orinn'"):
        price_network(traced, timed("orinn"), on_event=ignore)
