"""Reading, writing and asking latency tables."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from small_tables import HEADER, conv, grid_table

from automl.errors import TableError
from automl.latency.header import FittedOverhead, KnownError
from automl.latency.keys import MISSING, OpKey
from automl.latency.rows import Row
from automl.latency.table import LatencyTable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board.jsonl"


def test_what_is_written_is_read(path: Path) -> None:
    header = HEADER.model_copy(
        update={
            "aliases": ("b",),
            "overhead": FittedOverhead(
                scale=1.1, seconds_per_operator=0, seconds_per_call=1e-5, networks=5, error=0.02
            ),
            "known_error": KnownError(relative=0.1, on="nothing much"),
            "conditions": "cold",
        }
    )
    rows = [
        Row(conv(8, 8), 1e-5, 0.01, 30),
        Row(OpKey("matmul", 64, 50, groups=4, in_size=(50, 1), precision="int8"), 2e-5),
        Row(OpKey("activation", 8, 8, detail="silu"), 3e-6, joules=1e-4, origin="a paper"),
    ]
    written = LatencyTable.create(path, header, rows)
    read = LatencyTable.read(path)
    assert read.header == header
    assert [row.key for row in read.rows] == [row.key for row in rows]
    assert read.rows[2].joules == 1e-4
    assert math.isnan(read.rows[1].spread)
    assert read.digest == written.digest


def test_digest_depends_on_rows_and_not_on_their_order() -> None:
    rows = [Row(conv(8, 8), 1e-5), Row(conv(8, 16), 2e-5)]
    one = LatencyTable(HEADER, rows).digest
    assert one == LatencyTable(HEADER, rows[::-1]).digest
    assert one != LatencyTable(HEADER, rows[:1]).digest
    assert one != LatencyTable(HEADER.model_copy(update={"name": "c"}), rows).digest


def test_measured_interpolated_and_missing() -> None:
    table = grid_table()
    keys = [conv(16, 24), conv(12, 40), conv(4, 8), conv(64, 8), conv(16, 24, size=4)]
    found = table.lookup(keys)
    assert found.source.tolist() == [0, 1, MISSING, MISSING, MISSING]
    assert found.seconds[:2] == pytest.approx([1e-6 * (1 + 16 * 24), 1e-6 * (1 + 12 * 40)])
    assert np.isnan(found.seconds[2:]).all()
    assert found.spread[1] > found.spread[0]


def test_rows_added_later_are_found(path: Path) -> None:
    table = LatencyTable.create(path, HEADER)
    assert table.lacks([conv(8, 8), conv(8, 8)]) == (conv(8, 8),)
    table.append([Row(conv(8, 8), 1e-6), Row(conv(8, 24), 3e-6)])
    assert table.lookup([conv(8, 16)]).seconds[0] == pytest.approx(2e-6)
    table.append([Row(conv(8, 16), 9e-6)])
    assert table.lookup([conv(8, 16)]).source[0] == 0
    assert len(LatencyTable.read(path)) == 3


def test_predictor_fills_what_rows_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Guess:
        def predict(self, keys: list[OpKey]) -> tuple[np.ndarray, np.ndarray]:
            seconds = np.array([1e-9 * key.macs if key.macs else np.nan for key in keys])
            return seconds, np.full(len(keys), 0.2)

    from automl.latency import predict

    monkeypatch.setattr(predict, "load_predictor", lambda coefficients: Guess())
    header = HEADER.model_copy(update={"coefficients": {"model": "guess"}})
    pool = OpKey("max_pool", 8, 8, (2, 2), (2, 2), in_size=(8, 8), out_size=(4, 4))
    found = LatencyTable(header, [Row(conv(8, 8), 5e-6)]).lookup([conv(8, 8), conv(64, 64), pool])
    assert found.source.tolist() == [0, 2, MISSING]
    assert found.seconds[1] == pytest.approx(1e-9 * conv(64, 64).macs)
    assert found.spread[1] == 0.2


def test_many_keys_are_answered_in_their_order() -> None:
    keys = [conv(read, written) for read in range(8, 33) for written in range(8, 65)]
    found = grid_table().lookup(keys)
    expected = [1e-6 * (1 + key.in_channels * key.out_channels) for key in keys]
    assert found.seconds == pytest.approx(expected)


def test_a_table_is_not_overwritten(path: Path) -> None:
    LatencyTable.create(path, HEADER)
    with pytest.raises(TableError, match="already"):
        LatencyTable.create(path, HEADER)


def test_an_operator_is_added_once() -> None:
    table = LatencyTable(HEADER, [Row(conv(8, 8), 1e-6)])
    with pytest.raises(TableError, match="already"):
        table.append([Row(conv(8, 8), 1e-6)])
