"""Rounding learned block by block: flips undo what is wrong, and nothing is made worse."""

from __future__ import annotations

import torch
from compressed import outputs_of
from rounded_blocks import LAYERS, made, rounded

from automl.compression.compressor import Compressor
from automl.compression.quantization.simulation import QuantizedModel
from automl.policy.policy import Bits, Policy


def test_every_integer_is_one_step_from_where_second_order_rounding_left_it() -> None:
    compressor, model = rounded("block-rounding:rounds=4", Bits(3, 8))
    dense, plain = compressor.traced.model, rounded("least-squares", Bits(3, 8))[1]
    found = outputs_of(model, compressor.images) - outputs_of(dense, compressor.images)
    assert torch.isfinite(found).all()
    first = model.integers("stem"), plain.integers("stem")
    assert torch.equal(*first)  # outside of blocks nothing is learned
    apart = (model.integers("same.inner") - plain.integers("same.inner")).abs()
    assert int(apart.max()) == 1  # some were flipped, by one step
    assert all(int(model.integers(name).abs().max()) <= 3 for name in LAYERS)


def test_layers_of_more_bits_are_left_to_least_squares() -> None:
    for bits in (Bits(8, 8), Bits(4, 32)):
        found, plain = (rounded(name, bits)[1] for name in ("block-rounding", "least-squares"))
        pairs = zip(found.network.parameters(), plain.network.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_a_block_that_is_cut_is_held_to_the_channels_that_are_left() -> None:
    compressor = made("block-rounding:rounds=2")
    network = compressor.traced.network
    counts = {group.name: tuple(range(1, group.channels + 1)) for group in network.groups}
    config = compressor.config
    compressor = Compressor(
        compressor.traced, compressor.images, counts, config=config, scheme="qdq-u8s8"
    )
    half = {group.name: group.channels // 2 for group in network.groups}
    policy = Policy(half, bits=dict.fromkeys(LAYERS, Bits(3, 8)), removed=frozenset({"same2"}))
    model = compressor.make(policy)
    assert isinstance(model, QuantizedModel)
    assert torch.isfinite(outputs_of(model, compressor.images)).all()
