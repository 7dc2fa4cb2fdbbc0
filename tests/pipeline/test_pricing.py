"""Prices of a target: what a table lacks is measured where it is this machine's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import SHAPE, model, request, write_table
from torch import Tensor, nn

from automl.errors import TableError, TargetError, UsageError
from automl.latency.header import KnownError, TableHeader
from automl.latency.table import LatencyTable
from automl.latency.targets import cpu_path, cpu_table, find_table
from automl.network.traced_model import TracedModel, trace_network
from automl.options import SearchOptions
from automl.pipeline import search
from automl.pipeline.context import reachable_budget
from automl.pipeline.pricing import describe, price_network
from automl.pipeline.requests import Event, ignore
from automl.pipeline.results import predicted


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
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
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


class Sequence(nn.Module):
    """Rows of features through an LSTM that is nearly all of the work, beside a few linear layers.

    With `distances` the output is how far it is from some points: an operator that nobody prices.
    """

    def __init__(self, *, distances: bool = False) -> None:
        super().__init__()
        self.enter, self.recurrent = nn.Linear(8, 16), nn.LSTM(16, 64, 2, batch_first=True)
        self.hidden, self.leave = nn.Linear(64, 16), nn.Linear(16, 5)
        self.points = nn.Parameter(torch.randn(7, 5)) if distances else None

    def forward(self, x: Tensor) -> Tensor:
        found = self.recurrent(self.enter(x).relu())[0][:, -1]
        found = self.leave(self.hidden(found).relu())
        return found if self.points is None else torch.cdist(found, self.points)


def test_a_recurrent_layer_is_in_the_price() -> None:
    priced = price_network(trace_network(Sequence(), (1, 20, 8)), timed("rpi4-1t"), on_event=ignore)
    macs = 20 * 4 * 64 * ((16 + 64) + (64 + 64)) + 20 * 8 * 16 + 64 * 16 + 16 * 5
    dense = priced.costs.dense
    assert dense.macs == macs
    assert dense.bytes == 4 * sum(each.numel() for each in Sequence().parameters())
    assert dense.unpriced == priced.notes == ()
    least = price_network(
        trace_network(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5)), (1, 20, 8)),
        timed("rpi4-1t"),
        on_event=ignore,
    ).costs.dense
    assert dense.latency > 3 * least.latency


def test_a_latency_without_a_weighted_operator_is_a_bound_that_cannot_be_limited() -> None:
    found = trace_network(Sequence(distances=True), (1, 20, 8))
    priced = price_network(found, timed("rpi4-1t"), on_event=ignore)
    assert priced.costs.dense.unpriced == ("_cdist_forward",)
    assert any("_cdist_forward has weights and no price" in note for note in priced.notes)
    assert predicted(priced, priced.costs.dense).at_least
    with pytest.raises(UsageError, match="_cdist_forward holds weights and has no price"):
        reachable_budget(priced, ["50%"])
    assert reachable_budget(priced, ["100%MACs"]).limits[0].quantity == "macs"


class Unusual(nn.Module):
    """A function that no runtime has an operator of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.special.i0(self.stem(x)).mean((2, 3)))


def test_what_this_machine_cannot_time_is_said_before_anything_is_measured() -> None:
    traced = trace_network(Unusual().eval(), SHAPE, resolutions=())
    stages = list[str]()
    timed, sized = (SearchOptions(target="cpu", budget=(each,)) for each in ("50%", "50%size"))
    with pytest.raises(TableError, match=r"no way to run activation 'i0' .* limit its MACs"):
        price_network(traced, timed, on_event=lambda event: stages.append(event.stage))
    assert stages == []
    price_network(traced, sized, on_event=ignore)


@pytest.mark.parametrize(
    ("runtime", "said"), [("tensorrt", "fp16 ("), ("ncnn", "fp16, 1 thread (")]
)
def test_a_gpu_is_not_called_one_thread(runtime: str, said: str) -> None:
    header = TableHeader(name="t", device="d", runtime=runtime, threads=1, precisions=("fp16",))
    assert said in describe(LatencyTable(header), "fp16", None)


@pytest.mark.parametrize("precisions", ["float", "int8"])
def test_the_known_error_is_that_of_the_precisions_that_are_chosen_from(
    traced: TracedModel, precisions: str
) -> None:
    known = find_table("rpi4-1t").header.known_error
    assert isinstance(known, KnownError)
    options = replace(timed("rpi4-1t"), precisions=(precisions,))
    error = price_network(traced, options, on_event=ignore).error
    both = known.by_precision.values()
    assert len(set(both)) == 2
    assert error == (known.by_precision["fp32"] if precisions == "float" else max(both))
