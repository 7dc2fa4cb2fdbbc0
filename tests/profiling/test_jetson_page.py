"""The page on Jetson: its commands can be typed, and it says that they were not run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import typer.main

from automl.cli.main import app
from automl.profiling.worker_tensorrt import CACHE_VARIABLE, OLDEST

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "jetson.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """The words of every command of ours in the page's blocks."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if "automl" in words:
                found.append(words[words.index("automl") + 1 :])
    return found


def test_it_says_that_nothing_was_run() -> None:
    assert PAGE.split("\n\n")[1].startswith("**None of this was run on a Jetson")


def test_every_option_exists() -> None:
    group = typer.main.get_command(app)
    found = commands()
    assert len(found) >= 4
    for name, *words in found:
        options = {text for option in group.commands[name].params for text in option.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_names_are_those_of_the_worker() -> None:
    assert CACHE_VARIABLE in PAGE
    assert f"TensorRT {OLDEST - 2} of JetPack 5 is refused" in PAGE
