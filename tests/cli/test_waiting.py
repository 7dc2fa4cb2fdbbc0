"""Threads that wait briefly, where other work has their cores."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from automl.cli.waiting import wait_briefly_where_busy

OURS = {"GOMP_SPINCOUNT": "1000"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells no number there")


@pytest.mark.parametrize(
    ("given", "running", "found"),
    [
        ({}, [3, 3, 3], OURS),
        ({}, [9, 3, 9], OURS),
        ({}, [1, 1, 1], {}),
        ({}, [9, 9, 1], {}),
        ({"GOMP_SPINCOUNT": "7"}, [], {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, [], {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_only_where_others_run_all_the_while_and_nothing_else_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    given: Mapping[str, str],
    running: list[int],
    found: Mapping[str, str],
) -> None:
    monkeypatch.setattr(os, "environ", dict(given))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    seen = iter(running)
    wait_briefly_where_busy(lambda: next(seen))
    assert os.environ == found
    assert next(seen, None) is None


@pytest.mark.parametrize(
    ("text", "found"), [("9.9 9.9 9.9 3/90 7\n", OURS), ("9.9 9 9 1/90 7", {})]
)
def test_the_kernel_tells_how_many_run_now_whatever_the_mean_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, found: Mapping[str, str]
) -> None:
    load = tmp_path / "loadavg"
    monkeypatch.setattr("automl.cli.waiting._LOAD", load)
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    wait_briefly_where_busy()
    assert not os.environ  # there is no such file
    load.write_text(text)
    wait_briefly_where_busy()
    assert os.environ == found
