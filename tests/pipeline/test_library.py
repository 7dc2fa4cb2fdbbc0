"""A search with distilled alternatives, and its policy applied by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import request, task, write_table

from automl.compression.blocks import library
from automl.pipeline import ApplyRequest, apply, search
from automl.policy import read_policy

KIND = "alternative"


def test_a_policy_is_applied_without_what_its_search_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a search that goes on trains nothing again."""
    monkeypatch.setattr(library, "STEPS", 20)
    board, out = write_table(tmp_path / "board.jsonl"), tmp_path / "run"
    wanted = {"choices": ("half-width",), "resolutions": None, "round_to": None}
    stages: list[str] = []
    found = search(
        request(board, out, "60%MACs", **wanted), lambda event: stages.append(event.stage)
    )
    assert stages.count("distilling blocks") == 20
    chosen = found.policy.policy.further[KIND]
    assert "half-width" in chosen.values()
    kept = [*(out / "library").iterdir()]
    assert kept

    stages.clear()
    search(
        request(board, out, "60%MACs", resume=True, **wanted),
        lambda event: stages.append(event.stage),
    )
    assert "distilling blocks" not in stages

    for each in kept:
        each.unlink()
    file = read_policy(out / "policy.json")
    export = tmp_path / "small.onnx"
    made = apply(ApplyRequest(task(), file, tmp_path / "model.pt", export=export))
    for name, value in found.model.state_dict().items():
        assert torch.equal(value, made.model.state_dict()[name]), name
    assert made.export_error is not None
    assert made.export_error < 1e-4
