"""The first line of a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from small_tables import HEADER

from automl.errors import TableError
from automl.latency.header import FittedOverhead, KnownError, TableHeader, parse_header
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
        ('{"name": "a", "runtime": "c"}\n', "header field 'device'"),
        ('{"name": "a", "device": "b", "runtime": "c", "batch": 2}\n', "header field 'batch'"),
        ('{"name": "a", "device": "b", "runtime": "c", "speed": 2}\n', "header field 'speed'"),
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
