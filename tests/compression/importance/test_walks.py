"""Walks over images that come first, and over those that do not."""

from __future__ import annotations

import pytest
import torch
from ranked import compressor_for, group_of, images_of
from small import SequenceFirst, Windows, seeded
from torch import nn

from automl.compression.importance.places import places_of
from automl.compression.importance.walks import images_first


@pytest.mark.parametrize(("network", "first"), [(SequenceFirst, False), (Windows, True)])
def test_it_is_seen_whether_images_come_first(network: type[nn.Module], first: bool) -> None:
    images = torch.randn(2, 7, 12) if network is SequenceFirst else images_of(2, size=8)
    traced = compressor_for(seeded(network), images).traced
    places = {each.name: places_of(each, traced.trace) for each in traced.network.groups}
    assert images_first(traced.model, places, images) == first


@pytest.mark.parametrize("network", [SequenceFirst, Windows])
def test_images_are_told_apart_where_they_do_not_come_first(network: type[nn.Module]) -> None:
    images = torch.randn(4, 7, 12) if network is SequenceFirst else images_of(4, size=8)
    whole = compressor_for(seeded(network), images)
    single = [compressor_for(seeded(network), image.unsqueeze(0)) for image in images]
    assert whole.traced.network.groups
    for group in whole.traced.network.groups:
        found = whole.statistics.activations(group)
        assert found
        for number, made in enumerate(single):
            alone = made.statistics.activations(group_of(made, group.name))
            for one, other in zip(found, alone, strict=True):
                torch.testing.assert_close(one.mean[number], other.mean[0])
