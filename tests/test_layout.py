"""The house: floors import only from floors below, functions fit a screen, imports stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import automl

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "search" / "automl"

#: Parts of the package from the ground up. A part imports from its own floor or from those below;
#: within a floor, cycles are refused.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "files", "units"),
    ("network", "userdata", "example"),
    ("policy", "latency"),
    ("space", "profiling"),
    ("compression",),
    ("cost", "recovery", "export"),
    ("study",),
    ("solver",),
    ("agents",),
    ("testing",),
    ("pipeline",),
    ("api", "cli"),
    ("__main__",),
)
FLOOR_OF = {part: number for number, floor in enumerate(FLOORS) for part in floor}

FUNCTION_LINES, FILE_LINES = 50, 400


def modules() -> dict[str, Path]:
    """Dotted names of all modules of the package, but for its own __init__."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name != "automl":
            found[name] = path
    return found


MODULES = modules()


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules of the package that a module imports, and whether only for its types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: relative import"
            names = [
                f"{node.module}.{alias.name}"
                if f"{node.module}.{alias.name}" in MODULES
                else node.module
                for alias in node.names
            ]
        yield from ((name, id(node) in typing_only) for name in names if name in MODULES)


def part(module: str) -> str:
    return module.split(".")[1]


def test_every_part_has_a_floor() -> None:
    assert {part(module) for module in MODULES} <= FLOOR_OF.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_come_from_no_higher_floor(module: str) -> None:
    floor = FLOOR_OF[part(module)]
    higher = [name for name, _ in imports(MODULES[module]) if FLOOR_OF[part(name)] > floor]
    assert not higher


def test_no_import_goes_in_a_circle() -> None:
    graph = {
        module: {name for name, typing_only in imports(path) if not typing_only}
        for module, path in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("module", MODULES)
def test_functions_and_files_fit_a_screen(module: str) -> None:
    text = MODULES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            lines -= len((ast.get_docstring(node) or "").splitlines())
            assert lines <= FUNCTION_LINES, f"{node.name} has {lines} lines"


def test_one_broad_except() -> None:
    broad = [
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
    ]
    assert broad == ["automl.errors"]


@pytest.mark.parametrize("module", MODULES)
def test_private_names_stay_in_their_module(module: str) -> None:
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("automl"):
            private = [a.name for a in node.names if a.name.startswith("_") and a.name[1] != "_"]
            assert not private


def loaded(statement: str) -> set[str]:
    """Top-level packages that are loaded after a statement in a fresh interpreter."""
    script = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", script]
    path = str(PACKAGE.parent)
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={"PYTHONPATH": path}
    )
    return set(done.stdout.split())


HEAVY = {"torch", "optuna", "ray", "onnx", "onnxruntime", "scipy", "numpy", "pydantic"}


@pytest.mark.parametrize("statement", ["import automl", "import automl.cli.main"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    found = loaded(statement)
    assert "automl" in found
    assert not found & HEAVY


def test_reading_a_policy_does_not_load_torch() -> None:
    assert not loaded("import automl; automl.read_policy") & {"torch", "optuna", "onnxruntime"}


def test_public_names_are_found() -> None:
    for name in automl.__all__:
        assert getattr(automl, name) is not None
    assert dir(automl) == sorted(automl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        automl.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert automl.__version__ == project["version"]
