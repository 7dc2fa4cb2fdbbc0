"""Networks that are scored on crops and priced, exported and remade at their full size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx
import pytest
from tiny import request, task

from automl.pipeline import apply, search, verify
from automl.pipeline.requests import ApplyRequest, VerifyRequest

FRAME = (1, 3, 20, 32)


def shape_of(path: Path) -> tuple[int, ...]:
    (first,) = onnx.load(path).graph.input
    return tuple(extent.dim_value for extent in first.type.tensor_type.shape.dim)


@pytest.mark.parametrize(
    ("target", "precisions"), [("rpi4-1t", ("float",)), ("rpi4-1t", ("int8",))]
)
def test_crops_are_scored_and_frames_are_priced(
    target: str, precisions: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))
    crops, frames = task(), dataclasses.replace(task(), input_shape=FRAME)
    settings = {"resolutions": None, "precisions": precisions, "round_to": 8}
    asked = request(target, tmp_path / "run", "70%MACs", task=frames, **settings)
    result = search(asked)
    file = result.policy
    assert file.model.input_shape == FRAME
    assert file.policy.resolution == 0
    assert result.compressed.macs <= 0.7 * result.dense.macs
    assert result.dense.macs == result.dense.counted_macs
    assert shape_of(tmp_path / "run" / "model.onnx") == FRAME
    assert any("for inputs of 3x20x32, scored on 3x16x16" in note for note in result.notes)

    # a policy says itself which size it is for
    again = ApplyRequest(crops, file, tmp_path / "again.pt", tmp_path / "again.onnx")
    remade = apply(again)
    assert remade.compressed.score == result.compressed.score
    assert remade.dense.counted_macs == result.dense.macs
    assert shape_of(tmp_path / "again.onnx") == FRAME
    assert any("scored on 3x16x16" in note for note in remade.notes)
    assert verify(VerifyRequest(crops, file, target)).compressed.macs == result.compressed.macs


def test_prices_are_those_of_the_frame(tmp_path: Path) -> None:
    from automl.pipeline import price_request
    from automl.pipeline.requests import ignore

    frames = dataclasses.replace(task(), input_shape=(1, 3, 32, 32))
    priced = [
        price_request(
            request("rpi4-1t", tmp_path, "70%MACs", task=each, resolutions=()), ignore
        ).costs.dense.macs
        for each in (task(), frames)
    ]
    head = 16 * 4  # the linear layer, after the pool
    assert priced[1] - head == 4 * (priced[0] - head)
