"""A table is measured in the scheme that its device's arithmetic asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from recorded_runner import INFO, RecordedRunner

from automl.errors import TableError
from automl.latency.header import TableHeader
from automl.latency.keys import OpKey
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.profiling.arithmetic import COMPARED, exact_cost, is_settled, settle_arithmetic
from automl.profiling.measuring import profile
from automl.profiling.runner import Limits, Measurement, Probe, RuntimeInfo

HEADER = TableHeader(
    name="board", device="Board", runtime="onnxruntime", runtime_version="1.0", threads=1
)
INTEGER = OpKey("linear", 8, 8, precision="int8")


@dataclass
class Kernels(RecordedRunner):
    """Takes so much longer for unsigned weights, which every second model has."""

    info: RuntimeInfo = replace(INFO, saturates=True)  # noqa: RUF009
    cost: float = 1.3
    refuses: bool = False

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        for index, _ in enumerate(probes):
            error = "no such kernel" if self.refuses and index % 2 else ""
            yield Measurement(index, self.cost if index % 2 else 1.0, 0.01, 9, error)


@pytest.fixture
def table(tmp_path: Path) -> LatencyTable:
    return LatencyTable.create(tmp_path / "board.jsonl", HEADER)


@pytest.mark.parametrize(("cost", "scheme"), [(1.3, "qdq-u8s7"), (0.9, "qdq-u8u8")])
def test_where_sums_saturate_the_quicker_of_both_ways_is_taken(
    table: LatencyTable, cost: float, scheme: str
) -> None:
    settle_arithmetic(table, Kernels(cost=cost))
    assert table.path is not None
    header = LatencyTable.read(table.path).header
    assert (header.saturates, header.scheme) == (True, scheme)
    assert header.exact_cost == pytest.approx(cost)
    assert is_settled(header)


def test_where_they_do_not_all_is_as_ever(table: LatencyTable) -> None:
    settle_arithmetic(table, Kernels(info=replace(INFO, saturates=False)))
    header = table.header
    assert (header.saturates, header.scheme, header.exact_cost) == (False, "qdq-u8s8", None)


def test_a_worker_that_cannot_tell_leaves_it_open(table: LatencyTable) -> None:
    settle_arithmetic(table, Kernels(info=INFO))
    assert (table.header.saturates, table.header.scheme) == (None, "qdq-u8s8")
    assert not is_settled(table.header)


def test_kernels_that_are_refused_are_not_taken(table: LatencyTable) -> None:
    assert exact_cost(Kernels(refuses=True)) is None
    settle_arithmetic(table, Kernels(refuses=True))
    assert (table.header.scheme, table.header.exact_cost) == ("qdq-u8s7", None)


def test_rows_from_before_are_those_of_seven_bits(table: LatencyTable) -> None:
    """The kernels are the same: their times hold."""
    table.append([Row(INTEGER, 1e-6)])
    table.set_header(table.header.model_copy(update={"scheme": "qdq-u8s8"}))
    settle_arithmetic(table, Kernels(cost=0.5))
    assert (table.header.scheme, table.header.exact_cost) == ("qdq-u8s7", None)


def test_rows_of_another_arithmetic_do_not_mix(table: LatencyTable) -> None:
    settle_arithmetic(table, Kernels())
    with pytest.raises(TableError, match="whose sums of integers saturate, and this one's do not"):
        profile(table, [INTEGER], Kernels(info=replace(INFO, saturates=False)))


def test_a_profile_asks_once_integers_are_measured(table: LatencyTable) -> None:
    profile(table, [replace(INTEGER, precision="fp32")], Kernels())
    assert table.header.saturates is None
    profile(table, [INTEGER], Kernels())
    assert (table.header.saturates, table.header.scheme) == (True, "qdq-u8s7")


def test_nothing_is_asked_of_runtimes_whose_scheme_cannot_saturate() -> None:
    tensorrt = HEADER.model_copy(update={"runtime": "tensorrt"})
    assert is_settled(tensorrt)
    assert not is_settled(HEADER)


def test_what_is_compared_can_be_measured() -> None:
    assert {key.precision for key in COMPARED} == {"int8"}
    assert exact_cost(RecordedRunner()) == pytest.approx(1.0, abs=0.1)  # sizes of the models
