"""The house: floors import only from floors below, functions fit a screen, imports stay light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import automl

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "search" / "automl"

#: Parts of the package from the ground up. A part imports from its own floor or from those below;
#: within a floor, cycles are refused.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "documents", "files", "heap", "interrupts", "units"),
    ("methods",),
    ("network", "example"),
    ("policy", "latency"),
    ("options", "report"),
    ("userdata", "space", "profiling"),
    ("compression",),
    ("cost", "recovery", "export"),
    ("study",),
    ("solver",),
    ("agents",),
    ("testing",),
    ("pipeline",),
    ("sweep",),
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


def face(package: str) -> dict[str, str]:
    """Names that a package's stub lends to others, with the module that holds each."""
    stub = PACKAGE / package / "__init__.pyi"
    if not stub.is_file():
        return {}
    return {
        alias.asname or alias.name: f"automl.{package}.{node.module}"
        for node in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


FACES = {path.parent.name: face(path.parent.name) for path in PACKAGE.glob("*/__init__.py")}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules of the package that a module imports, and whether only for its types.

    A name that comes from a package's face counts as its module.
    """
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
            names = [home(node.module, alias.name) for alias in node.names]
        yield from ((name, id(node) in typing_only) for name in names if name in MODULES)


def home(module: str, name: str) -> str:
    """The module that holds what `from module import name` finds."""
    if f"{module}.{name}" in MODULES:
        return f"{module}.{name}"
    return FACES.get(module.removeprefix("automl."), {}).get(name, module)


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
def test_packages_are_entered_by_their_face(module: str) -> None:
    """Others import from a package, not from the files inside."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("automl."):
            package, _, inside = (node.module or "").removeprefix("automl.").partition(".")
            assert not inside or package == part(module), f"line {node.lineno}"


@pytest.mark.parametrize("package", [name for name, names in FACES.items() if names])
def test_a_face_lends_what_is_there(package: str) -> None:
    found = import_module(f"automl.{package}")
    assert sorted(found.__all__) == sorted(FACES[package])
    for name, module in FACES[package].items():
        assert module in MODULES
        assert getattr(found, name) is not None
        # Importing a submodule of the same name would put the module in place of what is lent.
        assert f"automl.{package}.{name}" not in MODULES


def test_no_public_class_name_twice() -> None:
    homes: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_tests_mirror_the_package() -> None:
    """What is in `search/automl/a/b.py` is tested in `tests/a/test_b.py`."""
    sources = [path for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")]
    assert sources
    missing = {
        str(path.relative_to(PACKAGE))
        for path in sources
        if not (ROOT / "tests" / path.relative_to(PACKAGE)).with_name(f"test_{path.name}").is_file()
    }
    assert missing == set()


def test_few_modules_stand_at_the_root() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 10


@pytest.mark.parametrize("module", MODULES)
def test_functions_and_files_fit_a_screen(module: str) -> None:
    text = MODULES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            lines -= len((ast.get_docstring(node) or "").splitlines())
            assert lines <= FUNCTION_LINES, f"{node.name} has {lines} lines"


#: Functions with more than eight parameters: they take options as keywords.
TAKE_OPTIONS: frozenset[str] = frozenset(("automl.api.apply",))
PARAMETERS = 8


def public_functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """A module's functions and the methods of its classes that others may call, by name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and (
                    not inner.name.startswith("_") or inner.name == "__init__"
                ):
                    yield f"{node.name}.{inner.name}", inner


def test_public_functions_take_few_parameters() -> None:
    many = set()
    for module, path in MODULES.items():
        for name, function in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
            given = function.args
            names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            if len(names) - (names[:1] in (["self"], ["cls"])) > PARAMETERS:
                many.add(f"{module}.{name}")
    assert many <= TAKE_OPTIONS


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


def documented(docstring: str) -> dict[str, set[str]]:
    """Names that a docstring's sections explain, by section."""
    found: dict[str, set[str]] = {}
    names: set[str] = set()
    depth = 0
    for line in docstring.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() in ("Args:", "Attributes:", "Raises:", "Returns:"):
            names, depth = found.setdefault(line.strip(), set()), indent + 4
        elif indent == depth and (entry := re.match(r"\s*([\w, ]+):", line)):
            names.update(name.strip() for name in entry[1].split(","))
        elif line.strip() and indent < depth:
            names, depth = set(), 0
    return found


def parameters(node: ast.FunctionDef) -> set[str]:
    arguments = node.args
    named = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    others = (arguments.vararg, arguments.kwarg)
    return {each.arg for each in (*named, *others) if each is not None}


def fields(node: ast.ClassDef) -> set[str]:
    """Fields, properties and attributes of a class, and what its __init__ takes."""
    found = {
        each.target.id
        for each in node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    for method in (each for each in node.body if isinstance(each, ast.FunctionDef)):
        found |= {method.name} | (parameters(method) if method.name == "__init__" else set())
        found |= {each.attr for each in ast.walk(method) if isinstance(each, ast.Attribute)}
    return found


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_explain_what_there_is(module: str) -> None:
    """A parameter or field that was renamed is renamed in its explanation too."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            known = parameters(node) if isinstance(node, ast.FunctionDef) else fields(node)
            found = documented(ast.get_docstring(node) or "")
            explained = found.get("Args:", set()) | found.get("Attributes:", set())
            assert explained <= known, f"{node.name}: {explained - known}"


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
    with pytest.raises(AttributeError, match="nothing"):
        automl.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert automl.__version__ == project["version"]
