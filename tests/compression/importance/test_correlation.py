"""Correlations of connections against those of the rows themselves."""

from __future__ import annotations

import torch
from readers import made

from automl.compression.importance.correlation import correlations
from automl.testing.importances import ImportanceContract


def test_they_are_those_of_what_is_read_with_what_is_written() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(500, 4, generator=generator).double() @ torch.randn(4, 4).double() + 1.0
    weight = torch.randn(3, 5, generator=generator).double()
    wide = torch.cat([rows, torch.ones(500, 1)], 1).double()
    found = correlations(weight, wide.T @ wide / 500)
    written = wide @ weight.T
    expected = torch.corrcoef(torch.cat([written, rows], 1).T)[:3, 3:]
    torch.testing.assert_close(found[:, :4], expected)
    assert not found[:, 4].any()  # one does not vary


def test_they_do_not_depend_on_a_channels_scale() -> None:
    reader = made(5, 2, 3)
    weight, moments = reader.weight.double(), reader.moments
    scale = torch.ones(11).double()
    scale[4] = 1e3
    found = correlations(weight / scale, moments * torch.outer(scale, scale))
    torch.testing.assert_close(found, correlations(weight, moments))


class TestCorrelation(ImportanceContract):
    name = "correlation"
