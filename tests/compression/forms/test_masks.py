"""Weights that stay in single, in rows and in kernels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.compression.forms.building import fitted, layer_of
from automl.compression.forms.masks import KernelMask, RowMask, Unstructured
from automl.network import Layer
from automl.policy import Bits
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestUnstructured(FormContract):
    name = "unstructured"


class TestKernelMask(FormContract):
    name = "kernel"


class TestRowMask(FormContract):
    name = "row"


def member(form: Unstructured | KernelMask | RowMask, text: str) -> torch.Tensor:
    torch.manual_seed(0)
    module = nn.Conv2d(8, 12, 3, padding=1)
    found = fitted(form, form.read(text), module, moments_of(module))
    return found.view(12, 8, 3, 3) != 0.0


def test_whole_kernels_and_rows_go() -> None:
    kernels = member(KernelMask(), "50")
    assert torch.equal(kernels.flatten(2).any(2), kernels.flatten(2).all(2))
    assert int(kernels.flatten(2).any(2).sum()) == 48
    rows, columns = member(RowMask(), "25"), member(RowMask(), "25-columns")
    assert int(rows.sum()) == int(columns.sum()) == 12 * 8 * 9 // 4
    assert torch.equal(rows.any(3), rows.all(3))
    assert torch.equal(columns.any(2), columns.all(2))


def test_a_file_holds_a_bit_a_unit_and_what_stays() -> None:
    layer = Layer("", "conv2d", 8, 12, (3, 3), padding=(1, 1), in_size=(4, 4), out_size=(4, 4))
    one, kernel, row = Unstructured(), KernelMask(), RowMask()
    assert one.bytes(one.read("25"), layer, Bits()) == 864 / 8 + 4 * 216
    assert one.bytes(one.read("25"), layer, Bits(8, 8)) == 864 + 4 * 12  # rounded, all are there
    assert kernel.bytes(kernel.read("25"), layer, Bits()) == 96 / 8 + 4 * 9 * 24
    assert row.bytes(row.read("25-columns"), layer, Bits()) == 288 / 8 + 4 * 3 * 72


def test_a_share_is_written_with_what_is_unusual_alone() -> None:
    form = RowMask()
    assert form.read("50") == (50, "obs", "rows")
    assert form.read("50-columns-magnitude") == (50, "magnitude", "columns")
    assert form.read("7-obd") == (7, "obd", "rows")
    for text in ("", "0", "100", "050", "5.", "50-", "50-obs", "50-magnitude-columns", "50-row"):
        with pytest.raises(ValueError, match="is no"):
            form.read(text)
    with pytest.raises(ValueError, match="is no share"):
        Unstructured().read("50-columns")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Conv2d(4, 4, 1), ("", "it has no taps", "it has no taps")),
        (nn.Conv2d(8, 8, 3, groups=8), ("", "it has one kernel for each output", "")),
        (nn.Conv1d(8, 8, 3), ("", "", "it has no rows of several taps")),
        (nn.Conv2d(1, 1, 3), ("it has 9 weights", "it has one kernel for each output", "")),
    ],
)
def test_what_a_layer_does_not_have(module: nn.Module, said: tuple[str, ...]) -> None:
    layer = layer_of(module)
    assert layer is not None
    found = tuple(form.refusal(None, layer) for form in (Unstructured(), KernelMask(), RowMask()))
    assert found == said
