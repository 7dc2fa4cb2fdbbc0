"""Weights as files: whole or not at all, and in the bits that they have."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import SHAPE, model, task
from torch import nn

from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.quantization.simulation import QuantizedModel
from automl.export.packed import read_packed, state_dict
from automl.network.traced_model import trace_network
from automl.pipeline.writing import (
    CHECKED,
    examples,
    network_of_floats,
    save_packed,
    save_weights,
    stored,
)
from automl.policy.policy import Bits, Policy
from automl.userdata.data import Batches, Data


@pytest.fixture(scope="module")
def rounded() -> nn.Module:
    """The tiny model with integers, a codebook and floats."""
    asked = task()
    traced = trace_network(asked.model, asked.input_shape, resolutions=())
    images = asked.data.calibration.inputs
    compressor = Compressor(traced, images, {}, config=CompressionConfig(), scheme="qdq-u8s8")
    return compressor.make(Policy(bits={"stem": Bits(8, 8), "head": Bits(3, 32)}))


def same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(value, expected[name]) for name, value in found.items()
    )


def test_weights_of_floats_are_a_plain_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.pt"
    save_weights(model(), path)
    assert same(torch.load(path, weights_only=True), model().state_dict())
    assert [each.name for each in path.parent.iterdir()] == ["model.pt"]


def test_a_file_that_cannot_be_written_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"
    save_weights(model(), path)
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        save_weights(nn.Linear(2, 2), path)
    assert path.read_bytes() == before


def test_rounded_weights_are_saved_as_the_floats_that_they_stand_for(
    rounded: nn.Module, tmp_path: Path
) -> None:
    assert isinstance(rounded, QuantizedModel)
    save_weights(rounded, tmp_path / "model.pt")
    plain = torch.load(tmp_path / "model.pt", weights_only=True)
    assert same(plain, network_of_floats(rounded).state_dict())
    assert len(plain["head.weight"].unique()) <= 2**3


@pytest.mark.parametrize("huffman", [False, True])
def test_packed_weights_are_the_same_in_few_bits(
    rounded: nn.Module, tmp_path: Path, huffman: bool
) -> None:
    path = tmp_path / "new" / "model.weights"
    assert save_packed(rounded, path, huffman=huffman) == path.stat().st_size
    assert same(state_dict(read_packed(path)), network_of_floats(rounded).state_dict())


def test_what_is_not_rounded_is_stored_as_it_is(rounded: nn.Module) -> None:
    kinds = {name: type(value).__name__ for name, value in stored(rounded).items()}
    assert kinds["stem.weight"] == "IntegerWeights"
    assert kinds["head.weight"] == "SharedWeights"
    assert kinds["block.inner.weight"] == "Tensor"
    assert same(stored(model()), model().state_dict())


def test_examples_are_calibration_inputs_at_the_policys_resolution() -> None:
    asked = task()
    inputs = asked.data.calibration.inputs
    assert torch.equal(examples(asked, Policy(), SHAPE), inputs[:CHECKED])
    assert examples(asked, Policy(resolution=12), (1, 3, 12, 12)).shape == (12, 3, 12, 12)


def test_fewer_of_large_inputs_are_checked_on() -> None:
    data = Batches(((torch.zeros(70, 3, 256, 256), torch.zeros(70)),))
    asked = dataclasses.replace(task(), data=Data(data, data))
    assert len(examples(asked, Policy(), (1, 3, 256, 256))) == 64


def test_examples_fill_the_inputs_of_the_exported_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automl.pipeline.writing.CHECKED", 12)
    asked = task()
    found = examples(asked, Policy(), (1, 3, 24, 20))
    assert found.shape == (int(12 * 16 * 16 / (24 * 20)), 3, 24, 20)
    assert torch.equal(found[:, :, :16, :16], asked.data.calibration.inputs[: len(found)])
