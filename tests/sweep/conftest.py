"""A made-up board, the tiny model by its file, and recipes over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import write_table
from tiny_sweeps import COMMON, MakeRecipe

from automl.sweep.recipe import Recipe, make_recipe


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table that prices all choices of the tiny model."""
    return write_table(tmp_path_factory.mktemp("board") / "board.jsonl")


@pytest.fixture
def recipe(board: Path, tmp_path: Path) -> MakeRecipe:
    """A recipe over the tiny model: grids and options by name, results in `tmp_path`."""

    def make(out: Path | str = tmp_path / "out", **written: Any) -> Recipe:
        common = {**COMMON, "target": str(board), **written.pop("common", {})}
        return make_recipe({"common": common, "out": str(out), **written}, folder=tmp_path)

    return make
