"""How many rows layers are sampled at."""

from __future__ import annotations

import math

import torch
from compressed import read
from torch import nn

from automl.compression.layer_matrix import matrix
from automl.compression.memory import CELLS, MemoryPlan
from automl.compression.sampling import Sampling, chosen_places, rows_for, short_of_rows


def sampling(memory: int, images: int = 200) -> tuple[Sampling, MemoryPlan]:
    traced = read("residual")
    plan = MemoryPlan(traced.trace, memory)
    parts = plan.parts(lambda here: torch.zeros(here.stop - here.start), images)
    return Sampling(traced.model, traced.trace, plan, parts, 0), plan


def test_narrow_layers_are_read_at_more_places_and_none_at_too_few_or_too_many() -> None:
    assert rows_for(nn.Conv2d(64, 64, 3), CELLS) == CELLS // (64 * 9)
    assert rows_for(nn.Conv2d(64, 64, 3, groups=64), CELLS) == CELLS // (64 * 9)
    assert rows_for(nn.Conv2d(64, 512, 1), CELLS) == CELLS // 512
    assert rows_for(nn.Conv2d(3, 16, 3), CELLS) == 100_000
    assert rows_for(nn.Linear(8_000, 10), CELLS) == 3 * 8_000


def test_targets_of_all_layers_together_fit_their_share() -> None:
    model = read("residual").model
    layers = {name: each for name, each in model.named_modules() if hasattr(each, "weight")}
    calls = {call.step.module: call.out_shapes[0] for call in read("residual").trace.calls}
    kept = {}
    for memory in (4_000_000, 2_000_000_000):
        found, plan = sampling(memory)
        outputs = {name: matrix(layer).shape[1] for name, layer in layers.items()}
        rows = {
            name: found.aimed(name) * found.targets(name, math.prod(calls[name][2:]))
            for name in layers
        }
        kept[memory] = sum(4 * rows[name] * outputs[name] for name in layers)
        assert kept[memory] <= plan.targets_bytes
    assert kept[4_000_000] < kept[2_000_000_000]


def test_every_image_is_read_for_the_moments_whatever_may_wait() -> None:
    found, _ = sampling(4_000_000)
    assert found.images == 200
    assert found.aimed("stem.0") < 200
    assert found.moments("stem.0", 256) * 200 >= 8 * 27


def test_more_places_begin_with_the_fewer_and_parts_with_the_whole() -> None:
    def draw(count: int, *images: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(5)
        return torch.cat([chosen_places(generator, each, 40, count) for each in images])

    assert torch.equal(draw(9, 10)[:, :4], draw(4, 10))
    assert torch.equal(draw(4, 3, 7), draw(4, 10))


def test_layers_with_fewer_rows_than_columns_are_known() -> None:
    traced = read("linears")
    columns = {
        name: matrix(each).shape[2]
        for name, each in traced.model.named_modules()
        if isinstance(each, nn.Linear)
    }
    widest = max(columns.values())
    assert not short_of_rows(traced.model, traced.trace, widest)
    assert short_of_rows(traced.model, traced.trace, 5) == {
        name: (5, each) for name, each in columns.items() if each > 5
    }
    assert not short_of_rows(read("residual").model, read("residual").trace, 200)
