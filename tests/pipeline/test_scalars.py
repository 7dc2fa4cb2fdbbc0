"""Scalars for TensorBoard, read back by its own reader."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from tiny import request, write_table

from automl.errors import UsageError
from automl.pipeline import search
from automl.pipeline.points import Course, TrialPoint
from automl.pipeline.requests import Event, ignore
from automl.pipeline.scalars import scalars_of, with_scalars


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", exc_type=ImportError
    )
    found = accumulators.EventAccumulator(str(folder))
    found.Reload()
    return [(each.step, each.value) for each in found.Scalars(tag)]


def test_a_resumed_search_goes_on_with_its_scalars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
    board = write_table(tmp_path / "board.jsonl")
    asked = request(board, tmp_path / "run", "60%", agent="random", trials=2, tensorboard=True)
    search(asked)
    found = search(dataclasses.replace(asked, trials=5, resume=True))
    folder = tmp_path / "run" / "tensorboard"
    assert len(list(folder.iterdir())) == 2
    best = scalars(folder, "best/score")
    assert [step for step, _ in best] == [1, 2, 3, 4, 5]
    assert [value for _, value in best] == sorted(value for _, value in best)
    latencies = [value for _, value in scalars(folder, "trial/latency_ms")]
    assert len(latencies) == 5
    seconds = found.policy.predicted.latency_seconds
    assert seconds is not None
    assert any(value == pytest.approx(1e3 * seconds, rel=1e-4) for value in latencies)


def test_without_the_package_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with (
        pytest.raises(UsageError, match=r"pip install tensorboard$") as raised,
        with_scalars(tmp_path / "tensorboard", ignore),
    ):
        pass
    assert raised.value.options == ("tensorboard",)
    board = write_table(tmp_path / "board.jsonl")
    with pytest.raises(UsageError, match="tensorboard"):
        search(request(board, tmp_path / "run", "60%", agent="random", trials=2, tensorboard=True))
    assert not (tmp_path / "run").exists()


def test_what_is_not_known_is_left_out() -> None:
    assert scalars_of(Event("searching", 1)) == {}
    failed = TrialPoint(0, "FAILED", None, None, 1e6, 1e5, 0.5)
    assert scalars_of(Event("searching", 1, trial=failed)).keys() == {
        "trial/MACs",
        "trial/bytes",
        "trial/seconds",
    }
    simulated = dataclasses.replace(failed, latency=7.0, course=Course(unit="cycles"))
    assert scalars_of(Event("searching", 1, trial=simulated))["trial/latency_cycles"] == 7.0
