"""The contract of runtimes finds out what does not hold to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automl.latency.keys import OpKey
from automl.profiling.runtimes import Runtime, find_runtime
from automl.testing.runtimes import RuntimeContract

PROMISES = [name for name in vars(RuntimeContract) if name.startswith("test_")]


def broken(**changes: object) -> list[str]:
    """Promises that TensorRT's row breaks once it is changed."""
    row = replace(find_runtime("tensorrt"), **changes)  # type: ignore[arg-type]

    class Contract(RuntimeContract):
        name = "tensorrt"

        def make(self) -> Runtime:
            return row

    found = []
    for promise in PROMISES:
        try:
            getattr(Contract(), promise)()
        except AssertionError:
            found.append(promise)
    return found


def test_a_row_as_it_is_breaks_none() -> None:
    assert broken() == []


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        ({"name": "tensorr"}, "test_it_goes_by_the_name_that_it_is_found_by"),
        ({"title": ""}, "test_it_goes_by_the_name_that_it_is_found_by"),
        ({"precisions": ("int8", "fp16")}, "test_a_new_table_has_precisions_that_prices_know"),
        ({"offered": ("int8",)}, "test_operators_are_offered_where_they_can_be_measured"),
        ({"takes_onnx": False}, "test_operators_are_offered_where_they_can_be_measured"),
        ({"batch": 0}, "test_operators_are_offered_where_they_can_be_measured"),
        ({"scheme": "qdq-s8u8"}, "test_networks_are_quantized_in_a_scheme_that_there_is"),
        (
            {"anchor": OpKey("linear", 8, 8)},
            "test_its_anchor_can_be_measured_and_belongs_into_its_tables",
        ),
    ],
)
def test_what_a_row_breaks_is_found(changes: dict[str, object], promise: str) -> None:
    assert promise in broken(**changes)
