"""Statistics of channels against what is computed by hand and by small changes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from compressed import NAMES, images_for, read
from ranked import compressor_for, group_of, images_of
from small import Joined, Plain, Shortcuts, seeded
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression.compressor import Compressor
from automl.compression.database import build_database
from automl.compression.importance import walks
from automl.compression.importance.activation import Activation
from automl.compression.importance.objectives import projected
from automl.compression.memory import MemoryPlan
from automl.errors import UsageError
from automl.network.layers import ChannelGroup


def test_channels_are_pooled_behind_their_relu() -> None:
    model, images = seeded(Plain), images_of(5)
    made = compressor_for(model, images)
    (found,) = made.statistics.activations(group_of(made, "first"))
    with torch.no_grad():
        values = F.relu(model.first(images)).flatten(2)  # type: ignore[operator]
    assert found.rectified
    torch.testing.assert_close(found.mean, values.mean(2))
    torch.testing.assert_close(found.highest, values.amax(2))
    torch.testing.assert_close(found.zeros, (values == 0).float().mean(2))
    (second,) = made.statistics.activations(group_of(made, "second"))
    assert not second.rectified  # a sigmoid is between
    with torch.no_grad():
        pooled = torch.sigmoid(model.second(F.relu(model.first(images)))).mean((2, 3))  # type: ignore[operator]
    torch.testing.assert_close(second.mean, pooled)
    torch.testing.assert_close(second.highest, pooled)


def nudged(
    made: Compressor, group: ChannelGroup, channel: int, by: float, images: Tensor
) -> Tensor:
    """Logits where each reader of a group reads so much of a channel's value in its place."""
    model = copy.deepcopy(made.traced.model).double()
    for side in group.consumers:
        module: Any = model.get_submodule(side.module)
        with torch.no_grad():
            module.weight[:, list(side.positions[channel])] *= by
    with torch.no_grad():
        return model(images.double())  # type: ignore[no-any-return]


@pytest.mark.parametrize("network", [Plain, Shortcuts, Joined])
def test_gradients_say_what_becomes_of_the_loss_when_a_channel_fades(
    network: type[nn.Module],
) -> None:
    """Channels that several layers read fade in all of these; shortcuts go on as they are."""
    images, targets = images_of(3), torch.tensor([0, 3, 1])
    made = compressor_for(seeded(network), images, targets)
    for group in made.traced.network.groups:
        found = made.statistics.gradients(group, "loss")
        assert found.shape == (3, group.channels)
        for channel in range(0, group.channels, 3):
            up, down = (
                F.cross_entropy(nudged(made, group, channel, by, images), targets, reduction="none")
                for by in (1 + 1e-5, 1 - 1e-5)
            )
            slope = ((up - down) / 2e-5).float()
            torch.testing.assert_close(found[:, channel], slope, rtol=1e-3, atol=1e-6)


def test_projected_outputs_change_as_the_outputs_do() -> None:
    images = images_of(3)
    made = compressor_for(seeded(Shortcuts), images)
    group, here = group_of(made, "stem"), slice(0, 3)
    scales = torch.full((4,), float(made.traced.model(images).var(0).mean()))
    found = made.statistics.gradients(group, "logits").sum(0)
    for channel in range(0, group.channels, 2):
        up, down = (
            projected(nudged(made, group, channel, by, images), here, scales, 0)
            for by in (1 + 1e-5, 1 - 1e-5)
        )
        slope = ((up - down) / 2e-5).float()
        torch.testing.assert_close(found[channel], slope, rtol=1e-3, atol=1e-5)


def test_what_does_not_fit_is_collected_piece_by_piece_and_each_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = images_of(6)
    whole = compressor_for(seeded(Shortcuts), images)
    tight = compressor_for(seeded(Shortcuts), images)
    tight.statistics._pooled._limit = 1500  # type: ignore[attr-defined]
    walked: list[int] = []
    plain = walks.PoolingWalk.walk

    def counted(walk: walks.PoolingWalk, shown: Any) -> Any:
        walked.append(len(walk._places))
        return plain(walk, shown)

    monkeypatch.setattr(walks.PoolingWalk, "walk", counted)
    for group in whole.traced.network.groups:
        expected = whole.statistics.activations(group)
        found = tight.statistics.activations(group_of(tight, group.name))
        for one, other in zip(expected, found, strict=True):
            assert torch.equal(one.mean, other.mean)
    groups = len(whole.traced.network.groups)
    assert walked[0] == groups
    assert sum(walked[1:]) < 2 * groups
    assert len(walked) > 2


def test_what_is_cut_alone_is_what_the_outputs_lose() -> None:
    images = images_of(8)
    made = compressor_for(seeded(Plain), images)
    group = group_of(made, "first")
    everything = made.statistics.output_error(group, torch.arange(8))
    assert everything < 1e-10
    model = copy.deepcopy(made.traced.model)
    second: Any = model.get_submodule("second")
    with torch.no_grad():
        second.weight[:, [2, 5]] = 0.0
        dense, found = made.traced.model(images), model(images)
    expected = float((dense - found).square().mean() / dense.var(0).mean())
    kept = torch.tensor([0, 1, 3, 4, 6, 7])
    assert made.statistics.output_error(group, kept) == pytest.approx(expected, rel=1e-4)


def test_labels_that_nobody_gave_are_missed() -> None:
    made = compressor_for(seeded(Plain), images_of(4))
    with pytest.raises(UsageError, match="have no labels"):
        made.statistics.gradients(group_of(made, "first"), "loss")


def test_fewer_images_go_through_at_once_where_their_values_are_kept() -> None:
    made = compressor_for(seeded(Plain), images_of(4))
    trace = made.traced.trace
    assert [here.stop - here.start for here, _ in made.statistics.shown(3)] == [3, 1]
    need = (
        8
        * 2
        * 4
        * sum(torch.Size(shape).numel() for call in trace.calls for shape in call.out_shapes)
    )
    plan = MemoryPlan(trace, 2 * need)
    made.statistics._plan = plan
    assert made.statistics._tracked == 2


@pytest.mark.parametrize("name", NAMES)
def test_every_group_of_any_network_has_statistics(name: str) -> None:
    traced = read(name)
    made = Compressor(traced, images_for(traced.network.input_shape, 3), {})
    for group in traced.network.groups:
        shape = (3, group.channels)
        found = made.statistics.activations(group)
        assert found
        assert all(each.highest.shape == shape for each in found)
        slopes = made.statistics.gradients(group, "logits")
        assert slopes.shape == shape
        assert torch.isfinite(slopes).all()
        written = (*made.statistics.filters(group), *made.statistics.norm_scales(group))
        assert all(each.shape[0] == group.channels for each in written)


def test_a_refit_finds_the_room_that_statistics_took() -> None:
    """They are let go of when the database is there, and collected again when asked for."""
    made = compressor_for(seeded(Plain), images_of(4))
    group = group_of(made, "first")
    before = made.statistics.activations(group)
    assert made.statistics.activations(group) is before
    build_database(made.statistics, {"first": (4,)}, Activation())
    (one,), (other,) = before, made.statistics.activations(group)
    assert one is not other
    assert torch.equal(one.mean, other.mean)
