"""A run becomes one bundle with a card that says what was measured, and what was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl.errors import BundleError, LockedError, PolicyError
from automl.files import locked
from automl.pipeline.packing import inspect, pack
from automl.policy.file import Measured, write_policy
from policy_files import policy_file


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    write_policy(policy_file(), folder / "policy.json")
    for name in ("model.onnx", "model.pt", "study.db"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_bundle_is_the_same_each_time_and_is_read_again(run: Path, tmp_path: Path) -> None:
    packed, again = pack(run), pack(run, tmp_path / "again.zip")
    assert packed.path == run / "model.zip"
    assert packed.path.read_bytes() == again.path.read_bytes()
    assert [*packed.manifest.files] == ["MODEL_CARD.md", "model.onnx", "model.pt", "policy.json"]
    found = inspect(packed.path)
    assert (found.policy, found.card) == (policy_file(), packed.card)


def test_the_card_says_what_was_promised_and_what_was_measured(run: Path) -> None:
    file = policy_file()
    card = pack(run).card
    assert "measured: nothing was" in card
    assert "measured latency" not in card
    assert file.model.fingerprint in card
    assert all(each in card for each in file.budget)
    took = Measured(
        dense_seconds=2e-3,
        latency_seconds=1e-3,
        device="Board `x`",
        runtime="onnxruntime 1.31",
        threads=1,
        clocks="1.5 GHz",
    )
    write_policy(file.model_copy(update={"measured": took}), run / "policy.json")
    card = pack(run).card
    assert "| measured latency | 2.00 ms | 1.00 ms |" in card
    assert "Board  x , onnxruntime 1.31, 1 thread, 1.5 GHz" in card


def test_what_is_no_finished_run_is_refused(run: Path, tmp_path: Path) -> None:
    with locked(run), pytest.raises(LockedError):
        pack(run)
    (run / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"no model\.onnx"):
        pack(run)
    (run / "policy.json").unlink()
    with pytest.raises(PolicyError, match=r"has no policy\.json"):
        pack(run)
    with pytest.raises(PolicyError, match="there is no run folder"):
        pack(tmp_path / "none")
