"""All levels of the bits, and none that is zero."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from roundings import drawn, given, seen

from automl.compression.quantization.qparams import QParams
from automl.export.packed import read_packed, state_dict, write_packed
from automl.export.stored import IntegerWeights
from automl.policy.policy import Bits
from automl.recovery.quantizers.dorefa import ClippedActivations, Squashed
from automl.testing import TrainedQuantizerContract


class TestDorefa(TrainedQuantizerContract):
    name = "dorefa"


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_levels_are_exactly_all_of_the_bits(bits: int) -> None:
    dense = torch.cat([drawn(columns=4000), -drawn(columns=4000)], 2)
    rounding = Squashed().weights(given(dense, bits, 4))
    values, known = rounding.frozen(dense)
    assert isinstance(known, QParams)
    top = (1 << bits) - 1
    for row, scale in zip(values[0], known.scale[0], strict=True):
        assert (row.unique() / scale).round().tolist() == list(range(-top, top + 1, 2))


def test_odd_integers_are_packed_in_their_bits(tmp_path: Path) -> None:
    codes = torch.arange(-7, 8, 2, dtype=torch.int8).repeat(4, 25)
    size = {}
    for bits, odd in ((3, True), (4, False)):
        stored = IntegerWeights(codes, torch.ones(4), bits, odd)
        size[bits] = write_packed(tmp_path / f"{bits}.bin", {"weight": stored})
        found = state_dict(read_packed(tmp_path / f"{bits}.bin"))
        assert torch.equal(found["weight"], codes.float())
    assert size[4] - size[3] == pytest.approx(4 * 200 / 8, abs=20)


def test_layers_of_eight_bits_are_refused() -> None:
    assert "no bytes" in Squashed().refusal(Bits(8, 8))
    assert not Squashed().refusal(Bits(7, 8))


def test_activations_have_gradients_inside_their_range_alone() -> None:
    values = torch.tensor([-1.0, 0.2, 1.2, 9.0], requires_grad=True)
    found = ClippedActivations(seen(values.detach()))(values)
    assert found.tolist() == [0.0, 0.0, 1.0, 1.5]
    found.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 1.0, 1.0, 0.0]
