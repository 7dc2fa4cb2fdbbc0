"""Limits of memory: what goes through together, what may wait, and what is refused."""

from __future__ import annotations

import pytest
import torch
from compressed import images_for, read
from small import MAP, Plain, seeded
from torch import nn

from automl.compression.memory import (
    CELLS,
    ImageParts,
    MemoryPlan,
    check_memory,
    image_bytes,
    room,
)
from automl.errors import UsageError
from automl.heap import resident_bytes
from automl.network.traced_model import TracedModel, trace_network

#: Bytes of a map of one channel.
CHANNEL = 4 * 8 * 8


def plain() -> TracedModel:
    return trace_network(seeded(Plain), MAP, resolutions=())


def parts_of(plan: MemoryPlan, images: int) -> ImageParts:
    return plan.parts(lambda here: torch.zeros(here.stop - here.start), images)


def test_a_batch_is_as_large_as_its_share_allows() -> None:
    # the first convolution's output and that of the ReLU are there together
    plan = MemoryPlan(plain().trace, 16 * 5 * 16 * CHANNEL)
    assert plan.batch == 5
    assert [each.stop for each in parts_of(plan, 12).slices] == [5, 10, 12]


def test_fewer_images_wait_where_maps_are_large() -> None:
    plan = MemoryPlan(plain().trace, 16 * 4 * 16 * CHANNEL)
    parts = parts_of(plan, 100)
    at = {name: parts.images_at(name) for name in ("first", "second", "head")}
    assert at["first"] == at["second"] == 16  # 8 channels are read, of an eighth of the limit
    assert at["head"] == 100
    assert parts.images_at("unknown") == 100


def test_what_waits_never_grows_less_later_on() -> None:
    trace = read("unet").trace
    parts = parts_of(MemoryPlan(trace, 4_000_000), 1000)
    layers = [call.step.address for call in trace.calls if call.step.module]
    counts = [parts.at(("layer", address)) for address in layers]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_at_least_one_part_waits_and_the_first_images_are_in_the_same_parts() -> None:
    parts = parts_of(MemoryPlan(plain().trace, 16 * 16 * CHANNEL), 7)
    assert parts.at(("layer", ("first", 0))) >= 1
    assert [each.stop for each in parts.first(3).slices] == [1, 2, 3]
    assert parts.first(3).images == 3


def test_a_limit_below_one_image_says_what_is_needed() -> None:
    with pytest.raises(UsageError, match=r"5\.00 kB .* one image's .* need a limit of 65\.5 kB"):
        MemoryPlan(plain().trace, 5_000)
    check_memory(10, 10, "it")
    with pytest.raises(UsageError, match=r"10\.0 B .* it need a limit of 11\.0 B"):
        check_memory(10, 11, "it")


def test_the_usual_limit_reads_the_usual_rows_and_a_smaller_one_fewer() -> None:
    assert MemoryPlan(plain().trace).cells == 2_000_000_000 // 72 <= CELLS
    assert MemoryPlan(plain().trace, 72_000_000).cells == 1_000_000


def test_freed_memory_is_kept_until_much_of_the_limit_is_resident_beyond_the_program() -> None:
    before, limit = resident_bytes(), 400_000_000
    plan = MemoryPlan(plain().trace, limit)
    beyond = plan.full_bytes - before
    # with less than the program takes, each batch would give back what the next one has anew
    assert limit / 3 < beyond < 2 * limit / 3
    assert parts_of(plan, 1).full_bytes == plan.full_bytes


def test_a_modules_input_counts_until_it_returns() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(8, 1, 1), nn.Conv2d(1, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.one(x))

    net = nn.Sequential(nn.Conv2d(3, 8, 1), Inner())
    traced = trace_network(net.eval(), MAP, resolutions=())
    plan = MemoryPlan(traced.trace, 8 * 10 * 10 * CHANNEL)
    assert plan.batch == 5  # 10 channels at once at most, of a sixteenth
    assert parts_of(plan, 100).images_at("1.two") == 10
    assert images_for(MAP, 2).shape == (2, 3, 8, 8)


def test_what_the_process_holds_anyway_is_taken_off_the_limit() -> None:
    model = plain().model
    assert room(3_000_000_000, model, 0) == 3_000_000_000
    less = room(1_000_000_000, model, 250_000_000)
    assert 0 < less < 0.5e9
    assert room(1_000_000_000, model, 300_000_000) < less
    wide = nn.Linear(8_000, 10)  # two matrices of 8,001 columns, and half of one in float32
    assert room(3_000_000_000, wide, 0) < (3e9 - 500e6 - 18 * 8_001**2) / 0.75


def test_a_limit_below_what_is_held_anyway_says_what_would_do() -> None:
    trace = plain().trace
    assert image_bytes(trace) == 16 * CHANNEL
    with pytest.raises(UsageError, match=r"300 MB .* the program, the model.* a limit of 65\d MB"):
        room(300_000_000, plain().model, 0, image_bytes(trace))
    with pytest.raises(UsageError, match=r"need a limit of 1\.85 GB"):
        room(1_000_000_000, plain().model, 0, 100_000_000)  # three quarters of 16 such images
