"""The JSON schema of latency tables, made from what reads them."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import TypeAdapter

from automl.latency.header import TableHeader
from automl.latency.keys import SOURCES, OpKey
from automl.network import OPERATORS

_NUMBER: Final = {"type": "number", "minimum": 0}
_TIME: Final = {"type": "number", "exclusiveMinimum": 0}


def table_schema() -> dict[str, Any]:
    """What each line of a table is: the first a header, all others rows (JSON Schema 2020-12)."""
    header = TableHeader.model_json_schema(ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = header.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of an automl latency table",
        "description": (
            "A table is JSON Lines: its first line is a header, each further line a row. The"
            " field of a row's time is the header's unit: seconds, or cycles of a simulator."
        ),
        "oneOf": [{"$ref": "#/$defs/Header"}, {"$ref": "#/$defs/Row"}],
        "$defs": {**definitions, "Header": header, "Row": _row_schema()},
    }


def schema_text() -> str:
    """The schema as its file holds it."""
    return json.dumps(table_schema(), indent=2) + "\n"


def _row_schema() -> dict[str, Any]:
    key = TypeAdapter(OpKey).json_schema()
    properties: dict[str, Any] = key["properties"]
    for name, field in properties.items():
        least = 0 if name == "padding" else 1
        if field.get("type") == "integer":
            field["minimum"] = 1
        elif field.get("type") == "array":
            field["items"] = {"type": "integer", "minimum": least}
            field["minItems"], field["maxItems"] = 2, 3
    properties["op"]["enum"] = sorted(OPERATORS)
    values = {
        "seconds": {**_TIME, "description": "Median time of one execution."},
        "cycles": {**_TIME, "description": "In place of seconds where the header's unit says so."},
        "spread": {**_NUMBER, "description": "Relative half-width of the uncertainty of the time."},
        "runs": {"type": "integer", "minimum": 0, "description": "Executions behind the time."},
        "source": {"enum": list(SOURCES), "default": "measured"},
        "joules": {**_NUMBER, "description": "Energy of one execution."},
        "origin": {"type": "string", "description": "Where a value of others was published."},
        "board": {
            "type": "string",
            "description": "Which of several boards of the kind measured it.",
        },
        "slower": {
            **_NUMBER,
            "description": "By how much the machine was slower than at first; measured again.",
        },
    }
    return {
        "title": "Row",
        "description": "One operator at batch 1, and what it cost.",
        "type": "object",
        "properties": {**properties, **values},
        "required": key["required"],
        "oneOf": [{"required": ["seconds"]}, {"required": ["cycles"]}],
        "additionalProperties": False,
    }
