"""Channels that tell classes apart come back first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from filters import Chain
from ranked import compressor_for, images_of, orders
from small import Plain, Shortcuts, seeded

from automl.compression.importance.dcp import Dcp, fitted_classifier
from automl.errors import UsageError
from automl.testing.importances import ImportanceContract


def test_a_classifier_tells_apart_what_can_be_told() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(60) % 3
    values = torch.randn(60, 5, generator=generator)
    values[:, 2] += 8.0 * classes
    found = fitted_classifier(values, classes)(values)
    assert float((found.argmax(1) == classes).float().mean()) > 0.95


def test_without_a_classifier_the_outputs_error_alone_decides() -> None:
    """From no channels at all, its gradient is what each adds to the outputs times what it is."""
    images, classes = images_of(16), torch.arange(16) % 4
    filters = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).tolist()
    made = compressor_for(Chain(filters), images, classes)
    model: Any = made.traced.model
    with torch.no_grad():
        read = model.conv(images).relu().flatten(2)
        dense = model.head(model.conv(images).relu()).flatten(2)
        lacking = dense - model.head.bias.view(1, -1, 1)
    slopes = torch.einsum("nop,ncp->oc", lacking, read).norm(dim=0)
    found = orders("dcp:stages=1,balance=0", made)["conv"]
    assert found[::-1] == slopes.argsort(descending=True).tolist()


@pytest.mark.parametrize("telling", [0, 1])
def test_with_one_the_channel_comes_back_first_that_tells_classes_apart(telling: int) -> None:
    """Two are alike but for what they go with: one with the classes, one with something else."""
    images, kinds = images_of(80, size=4) / 2, torch.stack([torch.arange(80) % 2] * 2)
    kinds[1] = torch.arange(80) // 2 % 2
    for channel in range(2):
        images[:, channel] += (3.0 * kinds[channel] - 1.5).view(-1, 1, 1)
    model: Any = Chain(torch.eye(3).tolist())
    with torch.no_grad():
        model.head.weight.fill_(1.0)
        model.head.bias.fill_(1.0)  # no ReLU is shut before a channel is back
    made = compressor_for(model, images, kinds[telling])
    assert orders("dcp:stages=3,balance=1000", made)["conv"][-1] == telling


def test_stages_bring_back_every_channel_of_every_kind_of_group() -> None:
    images, classes = images_of(12), torch.arange(12) % 4
    made = compressor_for(seeded(Shortcuts), images, classes)
    for stages in (1, 3, 50):
        for name, order in orders(f"dcp:stages={stages}", made).items():
            group = next(each for each in made.traced.network.groups if each.name == name)
            assert sorted(order) == list(range(group.channels))


def test_inputs_are_those_that_layers_read() -> None:
    model: Any = seeded(Plain).eval()
    images = images_of(5)
    made = compressor_for(model, images)
    read, pooled = made.statistics.inputs(["second", "head"], 4)
    with torch.no_grad():
        first = model.first(images[:4]).relu()
        torch.testing.assert_close(read, first)
        expected = torch.sigmoid(model.second(first)).mean((2, 3)).unsqueeze(1)
    torch.testing.assert_close(pooled, expected)


def test_no_stages_are_refused() -> None:
    with pytest.raises(UsageError, match="not 0 and 256"):
        Dcp(stages=0)


class TestDcp(ImportanceContract):
    name = "dcp:stages=4"
