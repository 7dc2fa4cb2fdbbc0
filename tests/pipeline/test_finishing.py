"""Policies become models: made, trained, exported, measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import SHAPE, request, task, write_table
from torch import nn

from automl.errors import DataError, PolicyError, TableError
from automl.latency.targets import cpu_table
from automl.pipeline import apply, search, verify
from automl.pipeline.requests import ApplyRequest, Event, VerifyRequest
from automl.policy.file import PolicyFile
from automl.userdata.reading import TrainingBatches


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("tables") / "board.jsonl")


@pytest.fixture(scope="module")
def policy(board: Path, tmp_path_factory: pytest.TempPathFactory) -> PolicyFile:
    """A policy at a lower resolution."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
        result = search(request(board, tmp_path_factory.mktemp("run"), "60%"))
    channels = {
        name: group.model_copy(update={"kept": 8}) for name, group in result.policy.channels.items()
    }
    return result.policy.model_copy(update={"resolution": 12, "removed": (), "channels": channels})


def test_a_policy_becomes_a_smaller_model_that_is_written_and_exported(
    policy: PolicyFile, tmp_path: Path
) -> None:
    out, export = tmp_path / "small" / "model.pt", tmp_path / "small" / "model.onnx"
    result = apply(ApplyRequest(task(), policy, out, export))
    stored = torch.load(out, weights_only=True)
    assert stored["block.inner.weight"].shape == (8, 8, 3, 3)
    assert all(
        torch.equal(value, stored[name]) for name, value in result.model.state_dict().items()
    )
    assert export.exists()
    assert result.export_error is not None
    assert result.export_error < 1e-3
    assert result.compressed.macs == policy.predicted.macs
    dense, small = result.dense.score, result.compressed.score
    assert dense == pytest.approx(0.0, abs=1e-9)
    assert small is not None
    assert small < -1e-6


def test_a_recovery_reads_the_training_data_and_is_told(policy: PolicyFile, tmp_path: Path) -> None:
    events: list[Event] = []
    plain = apply(ApplyRequest(task(), policy, tmp_path / "plain.pt"))
    asked = ApplyRequest(task(), policy, tmp_path / "tuned.pt", recover="kd+labels:2")
    tuned = apply(asked, events.append)
    told = [(each.done, each.total) for each in events if each.training and each.training.loss]
    assert told[-1][0] == told[-1][1] == len(told)
    before, after = plain.model.state_dict(), tuned.model.state_dict()
    assert before.keys() == after.keys()
    assert any(note.startswith("recovery by kd+labels, ") for note in tuned.notes)
    kept = any("made nothing better" in note for note in tuned.notes)
    assert any(not torch.equal(value, after[name]) for name, value in before.items()) != kept
    assert not (tmp_path / "tuned.pt.recovery").exists()


def test_the_score_is_that_of_the_test_data_or_else_of_the_validation_data(
    policy: PolicyFile, tmp_path: Path
) -> None:
    tested = apply(ApplyRequest(task(), policy, tmp_path / "a.pt"))
    plain = apply(ApplyRequest(task(test=False), policy, tmp_path / "b.pt"))
    assert (tested.scored_on, plain.scored_on) == ("4 test inputs", "6 validation inputs")


def test_a_policy_for_another_model_is_refused(policy: PolicyFile, tmp_path: Path) -> None:
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Flatten()).eval()
    wrong = dataclasses.replace(task(), model=other)
    with pytest.raises(PolicyError):
        apply(ApplyRequest(wrong, policy, tmp_path / "model.pt"))
    assert not (tmp_path / "model.pt").exists()


def test_another_device_is_not_measured_and_that_is_said(policy: PolicyFile, board: Path) -> None:
    result = verify(VerifyRequest(task(), policy, str(board)))
    assert result.compressed.measured_seconds is None
    assert result.compressed.predicted_seconds == policy.predicted.latency_seconds
    assert any("not this machine" in note for note in result.notes)


def test_both_models_are_measured_here_at_their_own_resolutions(
    policy: PolicyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: dict[str, bytes] = {}

    def measure(models: dict[str, bytes], threads: int, seconds: float = 0.0) -> dict[str, float]:
        measured.update(models)
        return {"dense": 2e-3, "compressed": 1e-3}

    monkeypatch.setattr("automl.pipeline.finishing.measure_here", measure)
    result = verify(VerifyRequest(task(), policy, "cpu"))
    assert (result.dense.measured_seconds, result.compressed.measured_seconds) == (2e-3, 1e-3)
    assert len(measured["compressed"]) < len(measured["dense"])
    assert any("not for this machine" in note for note in result.notes)
    assert cpu_table().path is not None


def test_data_without_a_training_part_is_tuned_on_the_calibration_inputs(
    policy: PolicyFile, tmp_path: Path
) -> None:
    spoilt = [(torch.full((2, *SHAPE[1:]), torch.nan), None)]
    data = dataclasses.replace(task().data, training=TrainingBatches(spoilt, None))
    given = dataclasses.replace(task(), data=data)
    with pytest.raises(
        DataError, match="training batch 0 has inputs that are NaN"
    ):  # so this is what is read
        apply(ApplyRequest(given, policy, tmp_path / "a.pt", recover="1"))
    given = dataclasses.replace(task(), data=dataclasses.replace(data, training=None))
    result = apply(ApplyRequest(given, policy, tmp_path / "b.pt", recover="1"))
    assert all(torch.isfinite(value).all() for value in result.model.state_dict().values())


def test_another_device_is_searched_and_verified_without_a_home(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
    result = search(request(board, tmp_path / "run", "60%"))
    checked = verify(VerifyRequest(task(), result.policy, str(board)))
    assert checked.compressed.measured_seconds is None
    for work in (
        lambda: search(request("cpu", tmp_path / "here", "60%")),
        lambda: verify(VerifyRequest(task(), result.policy, "cpu")),
    ):
        with pytest.raises(TableError, match="cannot be written"):
            work()
