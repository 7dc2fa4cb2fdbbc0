"""A recorded pass as plain values."""

from __future__ import annotations

import torch
from torch import nn

from automl.network.recorded import addresses
from automl.network.trace import record


def test_what_reads_and_writes_each_value_is_found() -> None:
    layer = nn.Linear(4, 4)
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), layer, layer)
    trace = record(model.eval(), torch.randn(1, 3))
    first, gelu, second, third = trace.calls
    assert trace.producers()[first.outputs[0]] is first
    assert trace.users()[gelu.outputs[0]] == [second]
    assert trace.uses()["2"] == 2
    assert trace.alive() == trace.calls
    assert addresses(trace)[third.outputs[0]] == ("2", 1)
