"""Saliencies against the error that each weight's removal makes."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from readers import error, made

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.obd import Obd, saliency
from automl.network.layers import ChannelGroup
from automl.testing.importances import ImportanceContract


def test_a_saliency_is_half_of_what_one_weight_costs_alone() -> None:
    reader = made(4, 2, 3)
    weight = reader.weight.double()
    energy = ((weight @ reader.moments) * weight).sum()
    found = saliency(weight, reader.moments)
    for output, column in ((0, 0), (1, 5), (2, 7)):
        less = reader.weight.clone()
        less[output, column] = 0.0
        assert float(2 * found[output, column] / energy) == pytest.approx(
            error(reader, less), rel=1e-4
        )


def test_a_channels_weights_count_together_in_all_readers() -> None:
    readers = [made(5, 2, 3, seed=1), made(5, 1, 2, seed=2)]
    group = ChannelGroup("drawn", 5, (), ())
    found = Obd().scores(group, readers, cast(ChannelStatistics, None))
    expected = torch.zeros(5).double()
    for reader in readers:
        weight = reader.weight.double()
        energy = ((weight @ reader.moments) * weight).sum()
        each = saliency(weight, reader.moments) / energy
        expected += torch.stack([each[:, columns].sum() for columns in reader.columns])
    torch.testing.assert_close(found, expected)


class TestObd(ImportanceContract):
    name = "obd"
