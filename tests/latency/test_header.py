"""The first line of a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from small_tables import HEADER

from automl.errors import TableError
from automl.latency.header import (
    BoardComparison,
    FittedOverhead,
    KnownError,
    TableHeader,
    parse_header,
)
from automl.latency.table import LatencyTable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board.jsonl"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a latency table"),
        ("schema\n", "not a latency table"),
        ('{"schema_version": 9, "name": "a", "device": "b", "runtime": "c"}\n', "schema_version 9"),
        ('{"name": "a", "runtime": "c"}\n', "header of a latency table: device is missing"),
        (
            '{"name": "a", "device": "b", "runtime": "c", "batch": 2}\n',
            "header of a latency table: batch: ",
        ),
        (
            '{"name": "a", "device": "b", "runtime": "c", "speed": 2}\n',
            "header of a latency table: unknown key 'speed'",
        ),
    ],
)
def test_a_bad_header_is_named(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(TableError, match=rf"board\.jsonl:1: {message}"):
        LatencyTable.read(path)


def test_a_header_survives_json() -> None:
    header = HEADER.model_copy(
        update={
            "scheme": "qdq-u8s8",
            "overhead": FittedOverhead(
                scale=1.1, seconds_per_operator=0, seconds_per_call=1e-5, networks=5, error=0.02
            ),
            "known_error": KnownError(relative=0.1, on="nothing much"),
        }
    )
    assert parse_header(header.model_dump_json(), "here") == header


def test_tables_of_earlier_versions_call_the_scheme_form() -> None:
    line = {"name": "a", "device": "b", "runtime": "c", "form": "qdq-s8s8"}
    assert parse_header(json.dumps(line), "here").scheme == "qdq-s8s8"


def test_values_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValidationError, match="threads"):
        TableHeader(name="a", device="b", runtime="c", threads=0)
    with pytest.raises(ValidationError, match="relative"):
        KnownError(relative=-0.1, on="")


def test_a_table_of_one_board_is_written_as_it_always_was() -> None:
    assert "boards" not in HEADER.model_dump_json()
    assert "boards" not in HEADER.model_dump()
    compared = BoardComparison(board="b", beside="a", ratio=1.25, spread=0.02, operators=9)
    header = HEADER.model_copy(update={"boards": (compared,)})
    assert parse_header(header.model_dump_json(), "here") == header
    assert LatencyTable(header).digest != LatencyTable(HEADER).digest
    assert (
        str(compared) == "b takes 1.250 times as long as a (± 2.0 %, 9 operators measured on both)"
    )


@pytest.mark.parametrize(
    ("ratio", "spread", "clear"),
    [(1.0, 0.0, False), (1.2, 0.05, True), (1.2, 0.1, False), (0.8, 0.05, True)],
)
def test_boards_disagree_beyond_three_spreads(ratio: float, spread: float, clear: bool) -> None:
    found = BoardComparison(board="b", beside="a", ratio=ratio, spread=spread, operators=9)
    assert found.clear is clear
    assert found.pair == frozenset("ab")


def test_fields_that_say_nothing_are_left_out_so_that_digests_stay() -> None:
    parts = {"scale": 1.0, "seconds_per_operator": 0.0, "seconds_per_call": 0.0, "networks": 3}
    overhead = FittedOverhead(**parts, error=0.1)  # type: ignore[arg-type]
    assert set(overhead.model_dump()) == {*parts, "error"}
    assert "integers" in overhead.model_copy(update={"integers": 1.2}).model_dump()
    known = KnownError(relative=0.2, on="x")
    assert set(known.model_dump()) == {"relative", "on"}
    told = KnownError(relative=0.2, on="x", by_precision={"int8": 0.1})
    assert (told.of("int8"), told.of("fp32")) == (0.1, 0.2)
    assert told.model_dump()["by_precision"] == {"int8": 0.1}


OVERHEAD = {"scale": 1, "seconds_per_operator": 0, "seconds_per_call": 0, "networks": 3, "error": 0}
BOARDS = {"board": "b", "beside": "a", "ratio": 1, "spread": 0, "operators": 9}


@pytest.mark.parametrize("value", [1e308, 1e19, -1.0, 10**18 * 10])
@pytest.mark.parametrize(
    ("field", "inner", "name"),
    [
        *(("overhead", OVERHEAD, name) for name in ("scale", "integers", "seconds_per_operator")),
        *(("overhead", OVERHEAD, name) for name in ("seconds_per_call", "error")),
        ("known_error", {"on": "x"}, "relative"),
        ("boards", BOARDS, "ratio"),
        ("boards", BOARDS, "spread"),
        ("exact_cost", {}, ""),
    ],
)
def test_amounts_that_no_device_has_are_refused(
    field: str, inner: dict[str, object], name: str, value: float
) -> None:
    content: object = {**inner, name: value} if name else value
    line = {"name": "a", "device": "b", "runtime": "c"}
    written = [content] if field == "boards" else content
    with pytest.raises(TableError, match=f"here: header of a latency table: {field}.*{name}"):
        parse_header(json.dumps({**line, field: written}), "here")
