"""The rows of the runtimes, and that nothing elsewhere asks for one of them by its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

import automl
from automl.errors import UsageError
from automl.latency.keys import op_key
from automl.methods import registry
from automl.policy.precisions import Precisions
from automl.profiling import worker
from automl.profiling.integer import SCHEMES
from automl.profiling.microbench import probe
from automl.profiling.runtimes import (
    RUNTIMES,
    find_runtime,
    measuring_runtime,
    runtime_of_table,
)

PACKAGE = Path(automl.__file__).parent
ROWS = [find_runtime(name) for name in RUNTIMES.ours]
#: Files that hold a runtime's name beside its row, and why.
NAMED = {
    "profiling/runtimes.py": "the rows",
    "profiling/worker.py": "the worker runs without automl",
    "profiling/worker_tensorrt.py": "the worker runs without automl; the name of the package there",
    "latency/host.py": "this machine's own table, and its distribution",
    "profiling/trtexec.py": "whose file it is, for a table's header",
    "profiling/ort_profile.py": "whose file it is, for a table's header",
    "profiling/tflite_profile.py": "whose file it is, for a table's header",
}


def names_in(path: Path) -> Iterator[str]:
    """Runtimes' names among a file's string constants."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and node.value in RUNTIMES.ours:
            yield f"{node.value} in line {node.lineno}"


def test_runtimes_are_named_in_their_rows_alone() -> None:
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in PACKAGE.rglob("*.py")
        if (names := list(names_in(path)))
    }
    assert {name: names for name, names in found.items() if name not in NAMED} == {}
    assert found.keys() == NAMED.keys()  # no exception that nothing needs


@pytest.mark.parametrize("name", [name for name in NAMED if name != "profiling/worker.py"])
def test_where_a_name_stands_it_is_not_compared(name: str) -> None:
    tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
    compared = [
        constant.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for constant in ast.walk(node)
        if isinstance(constant, ast.Constant) and constant.value in RUNTIMES.ours
    ]
    assert not compared


def test_the_worker_has_a_class_for_each_that_measures() -> None:
    assert set(worker.RUNTIMES) == {row.name for row in ROWS if row.measures}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_says_what_the_rest_can_use(row: automl.profiling.Runtime) -> None:
    assert row.name in RUNTIMES.ours
    assert row.scheme in SCHEMES
    assert row.batch > 0
    assert Precisions(row.precisions).dense == row.dense
    assert set(row.offered) >= set(row.precisions) if row.takes_onnx else not row.offered
    assert row.measures or not row.takes_onnx
    with pytest.raises(FrozenInstanceError):
        row.batch = 1  # type: ignore[misc]


@pytest.mark.parametrize("row", [row for row in ROWS if row.takes_onnx], ids=lambda row: row.name)
def test_the_anchor_can_be_run_and_belongs_into_the_tables(row: automl.profiling.Runtime) -> None:
    assert row.anchor.precision == row.dense
    assert op_key(row.anchor.layer(), row.dense) == row.anchor
    assert probe(row.anchor, row.name).models


def test_the_registry_lists_them() -> None:
    assert registry("runtimes") is RUNTIMES
    assert RUNTIMES.names()[:3] == ("onnxruntime", "tensorrt", "litert")


def test_an_unknown_runtime_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no runtime 'tensorr' \(did you mean tensorrt\?"):
        find_runtime("tensorr")


def test_one_that_measures_nothing_here_is_answered_with_those_that_do() -> None:
    assert measuring_runtime("litert").title == "LiteRT"
    with pytest.raises(UsageError, match=r"ncnn: .*\(there is: litert, onnxruntime, tensorrt\)"):
        measuring_runtime("ncnn")


def test_tables_of_runtimes_that_nobody_knows_have_a_plain_row() -> None:
    assert runtime_of_table("ncnn") is find_runtime("ncnn")
    plain = runtime_of_table("simulator")
    assert (plain.name, plain.scheme) == ("simulator", "qdq-s8s8")
    assert not plain.takes_onnx
