"""What one pass of the dense network leaves behind."""

from __future__ import annotations

import pytest
import torch
from compressed import images_for, read
from small import MAP, Block, InPlace, Plain, SequenceFirst, Shortcuts, seeded
from torch import nn

from automl.compression.memory import MemoryPlan
from automl.compression.sampling import rows_for
from automl.compression.statistics import Features, aims_of, collect
from automl.network.traced_model import TracedModel, trace_network


def reading_of(factory: type[nn.Module], shape: tuple[int, ...] = MAP) -> TracedModel:
    return trace_network(seeded(factory), shape, resolutions=())


def collected(traced: TracedModel, count: int = 5, **options: int) -> Features:
    images = images_for(traced.network.input_shape, count)
    seed = options.pop("seed", 0)
    plan = MemoryPlan(traced.trace, **options)
    return collect(traced.model, traced.trace, images, plan=plan, seed=seed)


def operations(traced: TracedModel) -> dict[tuple[str, int], str]:
    return {call.step.address: call.step.op for call in traced.trace.calls}


def test_a_layer_aims_at_its_own_output() -> None:
    traced = reading_of(Plain)
    aims = aims_of(traced.trace)
    assert list(aims) == ["first", "second", "head"]
    assert [aims[name].rectified for name in aims] == [True, False, False]
    assert all(aim.shortcut is None and aim.target == (name, 0) for name, aim in aims.items())


def test_the_last_layer_before_a_sum_aims_at_it_less_the_other_operand() -> None:
    traced = reading_of(Shortcuts)
    aims, known = aims_of(traced.trace), operations(traced)
    assert aims["same.inner"].shortcut is None
    for name, scope in (
        ("same.outer", "same"),
        ("before.outer", "before"),
        ("after.project", "after"),  # it runs after the branch
    ):
        aim = aims[name]
        assert (aim.target[0], known[aim.target]) == (scope, "add")
        assert aim.shortcut is not None
        assert aim.rectified
    assert aims["after.outer"].shortcut is None
    assert aims["before.project"].shortcut is None
    entered = traced.trace.modules["same"][0][0]
    assert aims["same.outer"].shortcut == entered


def test_targets_are_the_dense_values_at_the_chosen_places() -> None:
    traced = reading_of(Shortcuts)
    features = collected(traced, cells=1)
    block: Block = traced.model.same  # type: ignore[assignment]
    with torch.no_grad():
        entered = torch.relu(traced.model.stem(features.images))
        total = block.outer(torch.relu(block.inner(entered))) + entered
    chosen = features.chosen["same.outer"]
    assert chosen.shape == (5, 4)  # 8 columns, three rows each, over 5 images
    expected = torch.stack([total[i].flatten(1).T[chosen[i]] for i in range(5)]).flatten(0, 1)
    torch.testing.assert_close(features.targets["same.outer"], expected)


def test_moments_are_those_of_all_inputs_when_all_places_are_read() -> None:
    traced = reading_of(Plain)
    features = collected(traced)
    with torch.no_grad():
        hidden = torch.relu(traced.model.first(features.images))
        patches = nn.functional.unfold(hidden, 3, padding=1).transpose(1, 2).flatten(0, 1)
    wide = torch.cat([patches, torch.ones(5 * 64, 1)], 1).double()
    moments = features.moments["second"]
    assert moments.rows == 5 * 64
    torch.testing.assert_close(moments.total[0], wide.T @ wide, rtol=1e-5, atol=1e-4)


def test_a_batch_at_a_time_leaves_the_same_behind() -> None:
    traced = reading_of(Shortcuts)
    whole = collected(traced, 7, cells=3000)
    parts = collected(traced, 7, cells=3000, batch=3)
    assert whole.targets.keys() == parts.targets.keys()
    for name, target in whole.targets.items():
        assert torch.equal(whole.chosen[name], parts.chosen[name])
        torch.testing.assert_close(parts.targets[name], target)
        found, expected = parts.moments[name].total, whole.moments[name].total
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    for target in parts.targets.values():  # in one piece, and no larger than what is in it
        assert target.untyped_storage().nbytes() == target.nbytes


def test_narrow_layers_are_read_at_more_places_and_none_at_too_few_or_too_many() -> None:
    cells = 28_000_000
    assert rows_for(nn.Conv2d(64, 64, 3), cells) == cells // (64 * 9)
    assert rows_for(nn.Conv2d(64, 64, 3, groups=64), cells) == cells // (64 * 9)
    assert rows_for(nn.Conv2d(64, 512, 1), cells) == cells // 512
    assert rows_for(nn.Conv2d(3, 16, 3), cells) == 100_000
    assert rows_for(nn.Linear(8_000, 10), cells) == 3 * 8_000


def test_rows_bound_what_is_kept() -> None:
    traced = reading_of(Shortcuts)
    features = collected(traced, 4, cells=3000)
    for name, target in features.targets.items():
        rows = rows_for(traced.model.get_submodule(name), 3000)
        places = 1 if name == "head" else min(64, rows // 4)
        assert target.shape[0] == 4 * places
        assert features.moments[name].rows <= target.shape[0]


def test_the_same_seed_reads_the_same_places_and_another_others() -> None:
    traced = reading_of(Plain)
    first, again, other = (collected(traced, cells=1, seed=s) for s in (1, 1, 2))
    assert torch.equal(first.chosen["second"], again.chosen["second"])
    assert torch.equal(first.targets["second"], again.targets["second"])
    assert not torch.equal(first.chosen["second"], other.chosen["second"])
    assert not torch.equal(first.chosen["second"], first.chosen["first"])


def test_targets_are_not_changed_by_an_activation_in_place() -> None:
    traced = reading_of(InPlace, (1, 20))
    features = collected(traced)
    with torch.no_grad():
        expected = traced.model.first(features.images)
    assert torch.equal(features.targets["first"], expected)


def test_layers_that_read_sequences_before_images_have_no_aim() -> None:
    features = collected(reading_of(SequenceFirst, (1, 6, 12)))
    inside = {f"layer.self_attn.{name}_proj" for name in ("q", "k", "v", "out")}  # images first
    assert set(features.aims) == {"embed", "head"} | inside == set(features.targets)


def test_layers_that_run_twice_have_no_aim() -> None:
    aims = aims_of(read("shared").trace)
    assert not [name for name in aims if name.startswith("again")]
    assert [name for name in aims if name.startswith("inner")]


@pytest.mark.parametrize("name", ["mixture", "tuple"])
def test_networks_with_several_outputs_are_read(name: str) -> None:
    assert "stem.0" in collected(read(name)).targets


def test_layers_that_hold_one_weight_are_not_refitted_apart() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
            self.other.weight = self.one.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.other(self.one(x).relu()).relu())

    assert list(aims_of(trace_network(Tied(), (1, 4)).trace)) == ["last"]
