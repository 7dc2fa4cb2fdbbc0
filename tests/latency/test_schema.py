"""The schema that is documented is that of the code."""

from __future__ import annotations

from pathlib import Path

from automl.latency.header import TableHeader
from automl.latency.keys import OpKey
from automl.latency.rows import Row, parse_row, row_line
from automl.latency.schema import schema_text, table_schema

DOCS = Path(__file__).resolve().parents[2] / "docs"
FULL = Row(
    OpKey("conv2d", 4, 8, (3, 3), (2, 2), (1, 1), (2, 2), 2, (9, 9), (4, 4), "x", "int8", 3),
    1e-4, 0.1, 5, "fitted", 2e-3, "somewhere", "orin-2", 0.25,
)  # fmt: skip


def test_the_documented_schema_is_current() -> None:
    # python -c "from automl.latency.schema import schema_text; print(schema_text(), end='')"
    assert (DOCS / "table.schema.json").read_text(encoding="utf-8") == schema_text()


def test_it_names_what_rows_and_headers_hold() -> None:
    import json

    definitions = table_schema()["$defs"]
    row = definitions["Row"]
    assert set(json.loads(row_line(FULL))) == set(row["properties"]) - {"cycles"}
    assert set(row["required"]) == {"op", "in_channels", "out_channels"}
    assert parse_row(row_line(FULL), "seconds", "here") == FULL
    assert set(definitions["Header"]["properties"]) == set(TableHeader.model_fields)
    assert definitions["Row"]["properties"]["padding"]["items"]["minimum"] == 0
