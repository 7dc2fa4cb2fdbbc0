"""Half of the inner channels, those of most weight first."""

from __future__ import annotations

import torch

from automl.testing import BlockContract


class TestHalfWidth(BlockContract):
    name = "half-width"


def test_it_begins_with_the_channels_of_most_weight() -> None:
    contract = TestHalfWidth()
    traced = contract.traced()
    unit = contract.units(traced)[0]
    one, two = (traced.model.get_submodule(name).get_parameter("weight") for name in unit.chain)
    size = one.flatten(1).norm(dim=1) * two.transpose(0, 1).flatten(1).norm(dim=1)
    stays = sorted(size.topk(8).indices.tolist())
    first, last = contract.begun(traced, unit).convolutions
    assert torch.equal(first.get_parameter("weight"), one[stays])
    assert torch.equal(last.get_parameter("weight"), two[:, stays])
