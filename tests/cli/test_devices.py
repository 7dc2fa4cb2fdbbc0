"""`automl targets` and `automl profile`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import Pipeline

from automl import pipeline
from automl.latency import list_targets
from automl.latency.header import BoardComparison
from automl.pipeline.requests import (
    BoardShare,
    NetworkTime,
    ProfileRequest,
    ProfileResult,
)

ALONE = ("--model", "mine.py:network", "--input-shape", "3x2x2")


def test_profile_needs_no_data(automl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ProfileResult("this machine", Path("t.jsonl"), 10, 3, 6, ("softmax 5x5",))
    fake = Pipeline(answer)
    monkeypatch.setattr(pipeline, "profile", fake)
    status, out, _ = automl("profile", "--model", "mine.py:network", "--input-shape", "3x2x2")
    assert isinstance(fake.request, ProfileRequest)
    assert (status, fake.request.input_shape) == (0, (1, 3, 2, 2))
    assert "asked for 10 operators: 3 were known, 6 measured now, 1 refused" in out
    assert "refused: softmax 5x5" in out
    automl("profile", "--ops", "ops.jsonl", "--target", "cpu")
    assert (fake.request.model, fake.request.ops) == (None, Path("ops.jsonl"))
    status, _, err = automl("profile", "--model", "mine.py:network")
    assert (status, "needs --input-shape CxHxW or --data" in err) == (2, True)


def test_targets_fit_in_80_columns(
    automl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(folder))
    status, out, _ = automl("targets")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    first = {line.split()[0] for line in out.splitlines() if line.strip()}
    assert {each.name for each in list_targets()} <= first  # no name is split
    _, out, _ = automl("targets", "--json")
    assert "cpu" in {target["name"] for target in json.loads(out)}


def test_profile_asks_for_what_was_said(
    automl: Any, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    asked: list[ProfileRequest] = []

    def profile(request: ProfileRequest, _: object) -> ProfileResult:
        asked.append(request)
        networks = (NetworkTime("dense", 1e-3, 1.1e-3),)
        return ProfileResult(
            "Board", Path("t.jsonl"), 5, 1, 3, ("add: no",), ("hot",), networks, 0.09
        )

    monkeypatch.setattr(pipeline, "profile", profile)
    status, out, _ = automl(
        *("profile", "--target", "my-orin", *ALONE),
        *("--ssh", "a@one", "--ssh", "a@two:22", "--runtime", "tensorrt"),
        *("--python", "/opt/bin/python3", "--seed", "3"),
    )
    assert status == 0
    (request,) = asked
    assert request.ssh == ("a@one", "a@two:22")
    assert (request.runtime, request.python, request.seed) == ("tensorrt", "/opt/bin/python3", 3)
    assert "asked for 5 operators: 1 were known, 3 measured now, 1 refused" in out
    assert "note: hot" in out
    assert "-9.1 %" in out
    assert "mean error of networks left out of the fit: 9.0 %" in out
    automl("profile", "--target", "my-pi", "--calibrate", "times.csv", "--like", "rpi4")
    assert asked[1].calibrate == Path("times.csv")
    assert (asked[1].like, asked[1].model) == ("rpi4", None)
    words = ("--import", "p.json", "--layer-info", "l.json", "--precision", "fp16")
    automl("profile", "--target", "x", *ALONE, *words)
    assert (asked[2].profile, asked[2].layer_info) == (Path("p.json"), Path("l.json"))
    assert asked[2].precision == "fp16"


def test_what_each_of_several_boards_did_is_shown(
    automl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = BoardComparison(
        board="orin-2", beside="orin-1", ratio=1.31, spread=0.02, operators=9
    )
    boards = (BoardShare("orin-1", 74), BoardShare("orin-2", 70, compared), BoardShare("orin-3", 0))
    answer = ProfileResult("Orin", Path("t.jsonl"), 144, 0, 144, boards=boards)
    monkeypatch.setattr(pipeline, "profile", Pipeline(answer))
    asked = ("profile", "--ops", "ops.json", "--target", "x")
    status, out, _ = automl(*asked)
    assert status == 0
    shown = [line.split() for line in out.splitlines()]
    assert ["board", "rows", "time", "beside", "orin-1", "compared", "on"] in shown
    assert ["orin-1", "74"] in shown
    assert ["orin-2", "70", "1.310", "±", "0.026", "9"] in shown
    assert ["orin-3", "0"] in shown
    _, out, _ = automl(*asked, "--json")
    found = json.loads(out)["boards"][1]
    assert (found["board"], found["compared"]["ratio"]) == ("orin-2", 1.31)
