"""docs/architecture.md: the drawing is that of the imports, and what the page names is there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "search" / "recipes"))
import draw_architecture  # noqa: E402

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "search" / "automl"


def test_the_drawing_is_that_of_the_imports() -> None:
    found = draw_architecture.DRAWING.read_text(encoding="utf-8")
    assert found == draw_architecture.drawing(), "run python search/recipes/draw_architecture.py"


def test_every_package_is_on_the_page_and_every_path_on_it_exists() -> None:
    paths = re.findall(r"`([a-z_]+(?:/[a-z_]+\.py|/|\.py))`", PAGE)
    there = {path for path in paths if (PACKAGE / path).exists() or (ROOT / path).exists()}
    assert set(paths) - there == set()
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"example", "testing"}
    assert packages <= {path.rstrip("/") for path in paths}


def test_functions_and_classes_on_the_page_exist() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    for name in re.findall(r"`([A-Z]\w+|[a-z]+_[a-z_]+)(?:\(\w*(?:, \w+)*\))?`", PAGE):
        assert re.search(rf"^(?:class|def) {name}\b", source, re.MULTILINE), name


def test_a_line_that_follows_from_others_is_left_out() -> None:
    graph = {
        "a": frozenset({"b", "c"}),
        "b": frozenset({"c"}),
        "c": frozenset[str](),
    }
    assert draw_architecture.direct(graph) == [("a", "b"), ("b", "c")]
    assert draw_architecture.levels(graph) == {"a": 2, "b": 1, "c": 0}


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="a -> b -> a"):
        draw_architecture.levels({"a": frozenset({"b"}), "b": frozenset({"a"})})
