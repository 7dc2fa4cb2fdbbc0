"""Weights that share few values and are zero else: their number, their bytes and their error."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from automl.compression.forms.building import fitted
from automl.compression.forms.clustered import Clustered
from automl.export import found_sparse, write_packed
from automl.network import Layer
from automl.policy import Bits
from automl.testing import FormContract

Tensor = torch.Tensor


class TestClustered(FormContract):
    name = "clustered"


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


def test_so_many_weights_of_so_many_values_and_no_byte_more(tmp_path: Path) -> None:
    module, moments = layer()
    values = fitted(Clustered(), (40, 3), module, moments)
    kept = values[values != 0]
    assert kept.numel() == 216  # of 540
    assert len(kept.unique()) <= 8
    stored = found_sparse(values.view_as(module.weight))
    assert stored is not None
    path = tmp_path / "weights.bin"
    size = write_packed(path, {"w": stored})
    said = Clustered().bytes((40, 3), Layer("", "conv2d", 6, 10, (3, 3)), Bits())
    content = path.read_bytes()
    packed = int.from_bytes(content[12:16], "little")
    assert size - 16 - packed == said == 68 + 81 + 32


def test_what_stays_makes_good_for_what_went() -> None:
    module, moments = layer()
    aware = error(module, fitted(Clustered(), (40, 4), module, moments), moments)
    blind = error(module, fitted(Clustered(), (40, 4), module, None), moments)
    assert aware < 0.5 * blind


def test_more_weights_or_more_values_are_nearer() -> None:
    module, moments = layer()
    errors = [
        error(module, fitted(Clustered(), each, module, moments), moments)
        for each in ((20, 2), (40, 2), (40, 5), (80, 5))
    ]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("text", ["40", "40-", "-4", "0-4", "100-4", "40-9", "40-0", "4x-4", "²-4"])
def test_what_is_no_share_and_bits_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="share"):
        Clustered().read(text)
