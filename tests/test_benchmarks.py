"""Benchmarks are run by hand; here they are held to names that exist."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def test_benchmarks_can_be_imported() -> None:
    """In an interpreter of their own: a recipe has a name that one of them has too."""
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    assert importlib.import_module(name).__doc__, name\n"
    )
    folders = (FOLDER, ROOT / "search", ROOT / "tests", *(ROOT / "tests").glob("*/"))
    done = subprocess.run(
        [sys.executable, "-c", script, *NAMES],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_benchmark_of_the_makefile_is_there() -> None:
    words = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\", " ").split()
    named = {word.rpartition("/")[2] for word in words if word.startswith("tests/benchmarks/")}
    files = {word.partition(":")[0] for word in named if "$" not in word}  # or an object of one
    assert {file.removesuffix(".py") for file in files} <= set(NAMES)
    assert named
