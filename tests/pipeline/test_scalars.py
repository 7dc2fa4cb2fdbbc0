"""Scalars for TensorBoard, read back by its own reader."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from tiny import request, task, write_table

from automl.errors import UsageError
from automl.pipeline import ApplyRequest, apply, search
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


def test_a_training_is_written_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
    board = write_table(tmp_path / "board.jsonl")
    policy = search(request(board, tmp_path / "run", "60%", agent="random", trials=2)).policy
    out, told = tmp_path / "run" / "model.pt", list[Event]()
    asked = ApplyRequest(task(), policy, out, recover="kd:3", tensorboard=True)
    apply(asked, told.append)
    folder = out.parent / "tensorboard" / "model"
    losses = scalars(folder, "recovering/loss")
    steps = max(event.done for event in told if event.training)
    assert [step for step, _ in losses] == [*range(1, steps + 1)]
    given = [event.training.loss for event in told if event.training and event.training.loss]
    assert [value for _, value in losses] == pytest.approx(given)
    scores = scalars(folder, "recovering/held-back score")
    assert [step for step, _ in scores] == [0, steps]
    apply(dataclasses.replace(asked, recover="kd:1"), ignore)  # takes the place of the longer one
    assert len(list(folder.iterdir())) == 2
    assert [step for step, _ in scalars(folder, "recovering/loss")] == [*range(1, steps // 3 + 1)]


def test_a_killed_training_goes_on_with_its_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
    board = write_table(tmp_path / "board.jsonl")
    policy = search(request(board, tmp_path / "run", "60%", agent="random", trials=2)).policy
    asked = ApplyRequest(task(), policy, tmp_path / "model.pt", recover="kd:3", tensorboard=True)
    steps = len(task().data.calibration)

    def kill(event: Event) -> None:
        if event.training is not None and event.done == 2 * steps + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply(asked, kill)
    folder = tmp_path / "tensorboard" / "model"
    assert max(step for step, _ in scalars(folder, "recovering/loss")) == 2 * steps + 1
    apply(asked, ignore)
    losses = scalars(folder, "recovering/loss")
    assert [step for step, _ in losses] == [*range(1, 3 * steps + 1)]
    unbroken = dataclasses.replace(asked, out=tmp_path / "whole.pt")
    apply(unbroken, ignore)
    assert losses == scalars(tmp_path / "tensorboard" / "whole", "recovering/loss")


def test_each_rung_has_its_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
    board = write_table(tmp_path / "board.jsonl")
    policy = search(request(board, tmp_path / "run", "60%", agent="random", trials=2)).policy
    out = tmp_path / "model.pt"
    apply(ApplyRequest(task(), policy, out, recover="auto:3s", tensorboard=True), ignore)
    folder = tmp_path / "tensorboard" / "model"
    losses = scalars(folder, "end to end/loss")
    assert [step for step, _ in losses] == [*range(1, len(losses) + 1)]
    assert scalars(folder, "end to end/held-back score")[0][0] == 0


def test_stages_write_their_searches_and_their_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    for module in ("results", "staging"):
        monkeypatch.setattr(f"automl.pipeline.{module}.export_onnx", lambda *_, **__: 0.0)
    board = write_table(tmp_path / "board.jsonl")
    stages = {"stages": 2, "recover": "kd:1", "resolutions": None, "trials": 2}
    search(request(board, tmp_path / "run", "40%MACs", tensorboard=True, **stages))
    for number in (1, 2):
        folder = tmp_path / "run" / f"stage-{number}" / "tensorboard"
        assert scalars(folder, "trial/score")
        assert scalars(folder / "model", "recovering/loss")


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
