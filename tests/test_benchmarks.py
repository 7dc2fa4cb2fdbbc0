"""Benchmarks are run by hand; here they are held to names that exist."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_can_be_imported(name: str) -> None:
    assert importlib.import_module(name).__doc__


def test_every_benchmark_of_the_makefile_is_there() -> None:
    makefile = (FOLDER.parents[1] / "Makefile").read_text(encoding="utf-8")
    words = makefile.replace("bench_$$name.py", "").replace("\\", " ").split()
    named = {word.rpartition("/")[2] for word in words if word.startswith("tests/benchmarks/")}
    assert {word.removesuffix(".py") for word in named if word.endswith(".py")} <= set(NAMES)
    assert named
