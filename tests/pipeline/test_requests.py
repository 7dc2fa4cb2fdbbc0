"""Requests and results: what crosses from the pipeline cannot be changed on the way."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest
from tiny import request

from automl.options import SearchOptions
from automl.pipeline import requests
from automl.pipeline.requests import Event, ignore


def test_what_crosses_is_frozen_and_says_what_it_is() -> None:
    found = [each for _, each in inspect.getmembers(requests, inspect.isclass)]
    ours = [each for each in found if each.__module__ == requests.__name__]
    assert len(ours) >= 10
    for each in ours:
        assert dataclasses.is_dataclass(each)
        assert each.__dataclass_params__.frozen  # type: ignore[attr-defined]
        assert "__slots__" in vars(each)
        assert not (each.__doc__ or "").startswith(f"{each.__name__}(")  # not a made-up one


def test_a_request_is_the_options_with_a_task_and_a_folder(tmp_path: Path) -> None:
    asked = request("board", tmp_path / "run", "60%", time=90.0)
    assert isinstance(asked, SearchOptions)
    assert asked.out == tmp_path / "run"
    assert asked.seconds == asked.time == 90.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        asked.seed = 1  # type: ignore[misc]
    again = dataclasses.replace(asked, budget=("70%",))
    assert (again.task, again.budget) == (asked.task, ("70%",))


def test_nobody_has_to_listen() -> None:
    ignore(Event("calibrating", 0))
    assert Event("calibrating", 0) == Event("calibrating", 0, total=None, best=None)
