"""Rounding learned block by block: flips undo what is wrong, and nothing is made worse."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from compressed import outputs_of
from rounded_blocks import LAYERS, made, rounded

from automl.compression.compressor import Compressor
from automl.compression.kinds.form import FormKind
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


FORMS = {
    "same.inner": "rank-spatial:4",
    "same2.inner": "taps:1x3",
    "before.inner": "separable:1",
    "after.outer": "rank-channel:last-3",
}


def test_what_runs_in_a_layers_place_is_rounded_anew_as_well() -> None:
    policy = Policy(bits=dict.fromkeys(LAYERS, Bits(3, 8)), further={"form": FORMS})
    made_by = {name: made(name) for name in ("block-rounding:rounds=4", "least-squares")}
    found, plain = (maker.make(policy) for maker in made_by.values())
    assert isinstance(found, QuantizedModel)
    assert isinstance(plain, QuantizedModel)
    compressor = made_by["least-squares"]
    dense, images = compressor.traced.model, compressor.images
    assert torch.equal(found.integers("stem"), plain.integers("stem"))
    parts = [name for name in plain.weights if name.startswith("same.")]
    assert {"same.inner.0", "same.inner.1"} < set(parts)
    apart = [(found.integers(name) - plain.integers(name)).abs() for name in parts]
    assert max(int(each.max()) for each in apart) == 1  # some were flipped, by one step

    def lost(model: QuantizedModel) -> float:
        gaps = outputs_of(model.network.get_submodule("same"), read(model))
        return float((gaps - outputs_of(dense.get_submodule("same"), read(dense))).square().mean())

    def read(model: torch.nn.Module) -> torch.Tensor:
        network = model.network if isinstance(model, QuantizedModel) else model
        seen = list[torch.Tensor]()
        handle = network.get_submodule("same").register_forward_pre_hook(
            lambda _, given: seen.append(given[0].clone())
        )
        outputs_of(model, images)
        handle.remove()
        return seen[0]

    assert lost(found) < lost(plain)
    assert found.weights.keys() == plain.weights.keys()
    assert torch.isfinite(outputs_of(found, images)).all()


def test_what_was_finished_in_an_earlier_walk_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Counter[str]()
    finish = FormKind.finish

    def counted(kind: FormKind, option: Any, module: torch.nn.Module, moments: Any) -> None:
        asked[kind.format(option)] += 1
        finish(kind, option, module, moments)

    monkeypatch.setattr(FormKind, "finish", counted)
    policy = Policy(bits=dict.fromkeys(LAYERS, Bits(3, 8)), further={"form": FORMS})
    made("block-rounding:rounds=1").make(policy)
    assert asked == Counter(FORMS.values())
