"""What no file of integers can be made of is searched in floats, unless integers were asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import Twins, request, task

from automl.errors import IntegersError
from automl.pipeline import Sharing, exporting, ignore, search


def test_by_default_a_network_without_integers_is_searched_in_floats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
    torch.manual_seed(0)
    of_task = dataclasses.replace(task(), model=Twins().eval())
    given = request("rpi4-1t", tmp_path / "run", "80%", task=of_task)
    found = search(dataclasses.replace(given, precisions=("auto",)))
    assert not found.policy.policy.bits
    said = [note for note in found.notes if note.startswith("searched in floats: no file of int")]
    assert len(said) == 1
    assert "no value where two" in said[0]
    asked_for: tuple[dict[str, Any], ...] = (
        {"precisions": ("int8",)},
        {"precisions": ("auto",), "choices": ("channels", "bits", "resolution")},
        {"precisions": ("auto",), "keep_first_last": True},
    )
    for number, words in enumerate(asked_for):
        other = dataclasses.replace(given, out=tmp_path / f"other{number}", **words)
        with pytest.raises(IntegersError, match="may choose integers"):
            search(other)


def test_searches_that_share_ask_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []
    check = exporting.check_integers
    monkeypatch.setattr(
        exporting, "check_integers", lambda *given: asked.append(given) or check(*given)
    )
    torch.manual_seed(0)
    of_task = dataclasses.replace(task(), model=Twins().eval())
    given = request("rpi4-1t", tmp_path / "run", "80%", task=of_task)
    timed, sharing = dataclasses.replace(given, precisions=("auto",)), Sharing()
    for _ in range(3):
        with pytest.raises(IntegersError, match="may choose integers"):
            sharing.price(timed, ignore)
        sharing.price(dataclasses.replace(timed, precisions=("float",)), ignore)
    assert len(asked) == 1
