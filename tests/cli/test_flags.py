"""Flags made from options."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from automl.cli.flags import flags_of, takes_flags
from automl.options.search import SearchOptions, TaskOptions


def given(*words: str) -> dict[str, Any]:
    """What a command that has a switch, a repeatable flag and one of its own is given."""
    app, found = typer.Typer(rich_markup_mode=None), {}

    @app.command()
    @takes_flags(*flags_of(SearchOptions, only=("depth", "budget", "seed")))
    def command(place: str, *, json: bool = False, **flags: Any) -> None:
        found.update(place=place, json=json, **flags)

    done = CliRunner().invoke(app, [*words], catch_exceptions=False)
    return found or {"printed": done.output}


def test_flags_come_in_by_name_beside_the_commands_own() -> None:
    assert given("here", "--no-depth", "--budget", "5ms", "--budget", "4MB", "--json") == {
        "place": "here",
        "json": True,
        "depth": False,
        "budget": ["5ms", "4MB"],
        "seed": None,
    }


def test_a_switch_can_be_set_either_way_and_left() -> None:
    assert given("here", "--depth")["depth"] is True
    assert given("here")["depth"] is None


def test_what_was_written_is_kept_as_text_for_the_check() -> None:
    assert given("here", "--seed", "x")["seed"] == "x"


def test_what_has_to_be_given_comes_first() -> None:
    names = [each.name for each in flags_of(TaskOptions, SearchOptions)]
    assert names[:3] == ["target", "budget", "model"]
    assert len(names) == len(set(names))


def test_only_some_in_their_order() -> None:
    only = flags_of(TaskOptions, SearchOptions, only=("seed", "model"))
    assert [each.flag for each in only] == ["--seed", "--model"]
    with pytest.raises(KeyError):
        flags_of(TaskOptions, only=("seed",))
