"""Taylor ranks by the loss on labels."""

from __future__ import annotations

import torch
from ranked import compressor_for, images_of, orders
from small import Shortcuts, seeded
from torch.nn import functional as F

from automl.testing.importances import ImportanceContract


def test_the_channel_whose_first_order_is_least_goes_first() -> None:
    images, targets = images_of(12), torch.arange(12) % 4
    made = compressor_for(seeded(Shortcuts), images, targets)
    for group in made.traced.network.groups:
        slopes = made.statistics.gradients(group, "loss")
        assert orders("taylor", made)[group.name] == slopes.abs().mean(0).argsort().tolist()
        other = compressor_for(seeded(Shortcuts), images, (targets + 1) % 4)
        assert not torch.equal(other.statistics.gradients(group, "loss"), slopes)


def test_a_channel_that_nothing_reads_goes_first() -> None:
    images, targets = images_of(12), torch.arange(12) % 4
    model = seeded(Shortcuts)
    with torch.no_grad():
        model.same.outer.weight[:, 5] = 0.0  # type: ignore[union-attr, operator, index]
    made = compressor_for(model, images, targets)
    assert orders("taylor", made)["same.inner"][0] == 5
    assert orders("fisher", made)["same.inner"][0] == 5


def test_it_judges_by_the_loss_of_the_labels() -> None:
    """Of labels that the outputs are sure of, no channel matters to it; to the outputs it does."""
    images = images_of(8)
    model = seeded(Shortcuts)
    with torch.no_grad():
        model.head.weight *= 1e3  # type: ignore[operator]
    sure = model.eval()(images).argmax(1)
    made = compressor_for(model, images, sure)
    for group in made.traced.network.groups:
        slopes = made.statistics.gradients(group, "loss")
        loss = F.cross_entropy(model(images), sure, reduction="none")
        settled = loss == 0
        assert settled.any()
        assert slopes[settled].abs().max() < 1e-9
        assert made.statistics.gradients(group, "logits").abs().sum() > 0


class TestTaylor(ImportanceContract):
    name = "taylor"
