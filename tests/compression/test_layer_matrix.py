"""A layer as a matrix: its rows times its matrix are its outputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from automl.compression.layer_matrix import (
    columns,
    input_rows,
    matrix,
    output_rows,
    places,
    runs_of,
    set_matrix,
)

MAP, LINE, VOLUME = (6, 9, 7), (6, 11), (6, 5, 8, 7)
CONVOLUTIONS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "plain": (nn.Conv2d(6, 8, 3), MAP),
    "stride": (nn.Conv2d(6, 8, 3, stride=2, padding=1), MAP),
    "uneven": (nn.Conv2d(6, 8, (1, 5), stride=(2, 1), padding=(0, 2)), MAP),
    "dilated": (nn.Conv2d(6, 8, 3, padding=2, dilation=2), MAP),
    "same": (nn.Conv2d(6, 8, (4, 3), padding="same"), MAP),
    "valid": (nn.Conv2d(6, 8, 3, padding="valid"), MAP),
    "circular": (nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular"), MAP),
    "reflected": (nn.Conv2d(6, 8, (3, 5), padding=(1, 2), padding_mode="reflect"), MAP),
    "grouped": (nn.Conv2d(6, 9, 3, padding=1, groups=3), MAP),
    "depthwise": (nn.Conv2d(6, 6, 5, stride=2, padding=2, groups=6), MAP),
    "multiplied": (nn.Conv2d(6, 12, 3, padding=1, groups=6), MAP),
    "one-dimensional": (nn.Conv1d(6, 8, 5, stride=2, padding=2), LINE),
    "one-dimensional same": (nn.Conv1d(6, 8, 4, padding="same", dilation=2), LINE),
    "three-dimensional": (nn.Conv3d(6, 8, (2, 3, 3), stride=(1, 2, 3), padding=(1, 0, 2)), VOLUME),
    "three-dimensional grouped": (
        nn.Conv3d(6, 9, 3, padding=2, dilation=(1, 2, 2), groups=3),
        VOLUME,
    ),
}
LINEARS: dict[str, tuple[int, ...]] = {"vectors": (12,), "tokens": (5, 12), "maps": (3, 4, 12)}
LAYERS = [
    *(layer for layer, _ in CONVOLUTIONS.values()),
    nn.Linear(12, 7),
    nn.ConvTranspose2d(6, 4, 2, 2, groups=2),
    nn.ConvTranspose1d(6, 4, 3, groups=2),
    nn.ConvTranspose3d(6, 4, 2, 2),
]


def images(shape: tuple[int, ...], count: int = 3) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def sampled(count: int, total: int) -> Tensor:
    """Places of each image, in no order."""
    return torch.rand(count, total, generator=torch.Generator().manual_seed(2)).argsort(1)


def computed(module: nn.Module, rows: Tensor) -> Tensor:
    """Outputs from rows [n, runs, columns]: [n, outputs]."""
    found = torch.einsum("nrc,roc->nro", rows, matrix(module)).flatten(1)
    return found + module.bias.detach()


@pytest.mark.parametrize("module", LAYERS, ids=lambda module: str(module)[:60])
def test_a_matrix_is_written_back_as_it_was_read(module: nn.Module) -> None:
    before = module.weight.detach().clone()
    values = matrix(module)
    assert values.shape[0] == runs_of(module)
    set_matrix(module, torch.zeros_like(values))
    assert not module.weight.any()
    set_matrix(module, values)
    assert torch.equal(module.weight, before)


def test_a_matrix_is_a_copy() -> None:
    module = nn.Linear(3, 2)
    before = module.weight.detach().clone()
    matrix(module).zero_()
    assert torch.equal(module.weight, before)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_rows_of_a_convolution_times_its_matrix_are_its_outputs(name: str) -> None:
    module, shape = CONVOLUTIONS[name]
    values = images(shape)
    with torch.no_grad():
        expected = module(values)
    total = places(module, values.shape, 3)
    assert total == expected.shape[2:].numel()
    chosen = sampled(3, total)[:, : total // 2]
    rows = input_rows(module, values, chosen)
    reads = shape[0] // runs_of(module)
    assert rows.shape == (3 * (total // 2), runs_of(module), reads * columns(module))
    torch.testing.assert_close(
        computed(module, rows), output_rows(expected, chosen, False), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("name", LINEARS)
def test_rows_of_a_linear_layer_times_its_matrix_are_its_outputs(name: str) -> None:
    module, values = nn.Linear(12, 7), images(LINEARS[name])
    with torch.no_grad():
        expected = module(values)
    total = places(module, values.shape, 3)
    assert total == values[0, ..., 0].numel()
    chosen = sampled(3, total)
    rows = input_rows(module, values, chosen)
    torch.testing.assert_close(
        computed(module, rows), output_rows(expected, chosen, True), atol=1e-6, rtol=1e-5
    )


def test_windows_of_an_image_are_its_own_places() -> None:
    module, values = nn.Linear(12, 7), images((5, 12), count=4)  # two images, two windows each
    assert places(module, values.shape, 2) == 10
    chosen = torch.tensor([[0, 7], [9, 2]])
    rows = input_rows(module, values, chosen)[:, 0]
    expected = torch.stack([values[0, 0], values[1, 2], values[3, 4], values[2, 2]])
    assert torch.equal(rows, expected)


def test_rows_of_a_transposed_convolution_give_a_patch_each() -> None:
    module, values = nn.ConvTranspose2d(6, 4, 2, 2), images((6, 3, 5))
    with torch.no_grad():
        expected = module(values) - module.bias.view(1, -1, 1, 1)
    total = places(module, values.shape, 3)
    assert total == 15
    rows = input_rows(module, values, torch.arange(total).expand(3, -1))[:, 0]
    found = (rows @ matrix(module)[0].T).view(3, 3, 5, 4, 2, 2)
    found = found.permute(0, 3, 1, 4, 2, 5).reshape(3, 4, 6, 10)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_output_rows_are_a_copy() -> None:
    values = images((7,))
    rows = output_rows(values, torch.zeros(3, 1, dtype=torch.long), True)
    values.zero_()  # as an activation in place does
    assert rows.any()
