"""A first automl.toml says what was asked for, and what stands behind a # could be asked for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from automl.options import SearchOptions, TaskOptions
from automl.userdata import read_settings, settings_text
from automl.userdata.first_settings import SHOWN_KEYS

GIVEN = {"model": "mine.py:network", "data": "mine.py:loaders", "target": "cpu", "budget": ["50%"]}


def test_what_was_given_is_read_again(tmp_path: Path) -> None:
    text = settings_text(GIVEN)
    assert tomllib.loads(text) == GIVEN
    (tmp_path / "automl.toml").write_text(text, encoding="utf-8")
    read = read_settings(tmp_path)
    assert read.make(TaskOptions).model == f"{tmp_path}/mine.py:network"
    assert read.make(SearchOptions).budget == ("50%",)


def test_each_key_says_what_it_decides() -> None:
    lines = settings_text(GIVEN).splitlines()
    assert max(map(len, lines)) <= 100
    for key in SHOWN_KEYS:
        (at,) = [n for n, line in enumerate(lines) if re.match(rf"(# )?{key} = ", line)]
        assert re.match(r"# \S", lines[at - 1])


@pytest.mark.parametrize("key", [key for key in SHOWN_KEYS if key not in GIVEN])
def test_what_is_shown_behind_a_mark_is_valid(tmp_path: Path, key: str) -> None:
    text = re.sub(rf"^# ({key} = )", r"\1", settings_text(GIVEN), flags=re.MULTILINE)
    (tmp_path / "automl.toml").write_text(text, encoding="utf-8")
    read = read_settings(tmp_path)
    assert key in read.values
    read.make(TaskOptions)
    read.make(SearchOptions)


@pytest.mark.parametrize(
    "odd", ['a"b.py:n', "a\\b.py:n", "tab\t.py:n", "ü\x7f.py:n", "line\n.py:n"]
)
def test_odd_names_come_back_as_they_were(odd: str) -> None:
    assert tomllib.loads(settings_text({"model": odd}))["model"] == odd
