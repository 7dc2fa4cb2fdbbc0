"""The rows of the runtimes, and that nothing elsewhere asks for one of them by its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import automl
from automl import methods
from automl.errors import UsageError
from automl.methods import Registry, registry
from automl.profiling import runtimes, worker
from automl.profiling.runtimes import (
    RUNTIMES,
    Runtime,
    find_runtime,
    measuring_runtime,
    runtime_of_table,
)
from automl.testing.runtimes import RuntimeContract

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
    "profiling/machine.py": "names of extras, and of what pip installs for them",
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


def test_rows_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        find_runtime("ncnn").batch = 1  # type: ignore[misc]


class TestOnnxRuntime(RuntimeContract):
    name = "onnxruntime"


class TestTensorRT(RuntimeContract):
    name = "tensorrt"


class TestLiteRT(RuntimeContract):
    name = "litert"


class TestTFLite(RuntimeContract):
    name = "tflite"


class TestNcnn(RuntimeContract):
    name = "ncnn"


def test_every_row_is_held_by_the_contract() -> None:
    assert {each.name for each in RuntimeContract.__subclasses__()} >= set(RUNTIMES.ours)


def test_a_runtime_of_another_package_is_priced_as_its_row_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(methods, "entry_points", lambda group: [POINT])
    others = Registry[Runtime]("runtimes", RUNTIMES.ours.values())
    monkeypatch.setattr(runtimes, "RUNTIMES", others)
    find_runtime.cache_clear()
    assert runtime_of_table("theirs") == theirs()
    with pytest.raises(UsageError, match="nothing here measures with Theirs"):
        measuring_runtime("theirs")
    find_runtime.cache_clear()


def theirs() -> Runtime:
    """A runtime that another package describes."""
    return Runtime("theirs", "Theirs", scheme="qdq-u8s8")


POINT = EntryPoint("theirs", f"{__name__}:theirs", "automl.runtimes")


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
