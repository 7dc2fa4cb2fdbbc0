"""Checkpoints: read without running code, refused where they are another's or broken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from automl.errors import StudyError
from automl.recovery.checkpoint import identity_of, load_checkpoint, save_checkpoint


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.recovery"
    assert load_checkpoint(path, "one") is None
    save_checkpoint(path, "one", {"values": {"a": torch.ones(2)}, "step": 3, "best": None})
    found = load_checkpoint(path, "one")
    assert found is not None
    assert (found["step"], found["best"], found["values"]["a"].tolist()) == (3, None, [1, 1])
    with pytest.raises(StudyError, match="of another recovery"):
        load_checkpoint(path, "other")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


def test_what_is_none_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.recovery"
    for content in (b"", b"nonsense", b"PK\x03\x04 broken"):
        path.write_bytes(content)
        with pytest.raises(StudyError, match="no checkpoint of a recovery"):
            load_checkpoint(path, "one")
    torch.save(Evil(), path)
    with pytest.raises(StudyError, match="no checkpoint of a recovery"):
        load_checkpoint(path, "one")
    torch.save([1], path)
    with pytest.raises(StudyError, match="of this version"):
        load_checkpoint(path, "one")
    assert not (tmp_path / "ran").exists()


def test_other_weights_or_settings_are_another_recovery() -> None:
    layer = nn.Linear(2, 2)
    first = identity_of(layer, "kd", 0)
    assert first == identity_of(layer, "kd", 0)
    assert first != identity_of(layer, "kd", 1)
    with torch.no_grad():
        layer.bias.add_(1)
    assert first != identity_of(layer, "kd", 0)
