"""Powers of two: the grid of INQ, nearer for what is read, in the bytes that are said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from automl.compression.forms.building import fitted
from automl.compression.forms.pow2 import PowerOfTwo
from automl.export import found_stored, write_packed
from automl.network import Layer
from automl.policy import Bits
from automl.testing import FormContract


class TestPowerOfTwo(FormContract):
    name = "pow2"


def layer() -> tuple[nn.Conv2d, Tensor]:
    """A convolution, and second moments of inputs whose channels are much alike."""
    torch.manual_seed(0)
    module = nn.Conv2d(6, 10, 3, padding=1)
    mixed = torch.randn(54, 12, dtype=torch.float64) @ torch.randn(12, 4000, dtype=torch.float64)
    rows = torch.cat([mixed.T + 0.3 * torch.randn(4000, 54), torch.ones(4000, 1)], 1)
    return module, (rows.T @ rows / 4000).unsqueeze(0)


def error(module: nn.Conv2d, values: Tensor, moments: Tensor) -> float:
    gap = module.weight.detach().flatten(1).double() - values[0].double()
    spread = moments[0, :-1, :-1] - moments[0, :-1, -1:] @ moments[0, -1:, :-1]
    return float(((gap @ spread) * gap).sum())


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_every_weight_is_a_power_of_two_or_zero(bits: int) -> None:
    module, moments = layer()
    found = fitted(PowerOfTwo(), bits, module, moments).abs().unique()
    powers = found[found > 0].log2()
    assert torch.equal(powers, powers.round())
    assert float(powers.max() - powers.min()) < 1 << (bits - 2)
    assert float(found.max()) <= 4 / 3 * float(module.weight.detach().abs().max())


def test_what_is_read_counts_and_more_bits_are_nearer() -> None:
    module, moments = layer()
    aware = [error(module, fitted(PowerOfTwo(), b, module, moments), moments) for b in (2, 3, 4)]
    assert aware == sorted(aware, reverse=True)
    assert aware[1] < 0.5 * error(module, fitted(PowerOfTwo(), 3, module, None), moments)


def test_the_file_takes_no_more_bytes_than_are_said(tmp_path: Path) -> None:
    module, moments = layer()
    values = fitted(PowerOfTwo(), 3, module, moments)
    assert len(values.unique()) == 5  # of eight codes
    stored = found_stored(values.view_as(module.weight))
    assert stored is not None
    size = write_packed(tmp_path / "w", {"w": stored})
    header = int.from_bytes((tmp_path / "w").read_bytes()[12:16], "little")
    said = PowerOfTwo().bytes(3, Layer("", "conv2d", 6, 10, (3, 3)), Bits())
    assert said == 203 + 32
    assert 0.7 * said < size - 16 - header <= said  # zeros are left out where that is less
    assert torch.equal(stored.values(), values.view_as(module.weight))


def test_other_texts_are_refused() -> None:
    for text in ("", "1", "9", "33", "x"):
        with pytest.raises(ValueError, match="bits"):
            PowerOfTwo().read(text)
