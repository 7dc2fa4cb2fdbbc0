"""What an importance lacks is said before anything is done."""

from __future__ import annotations

import pytest
import torch
from ranked import compressor_for, images_of
from small import Plain, seeded
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression.importance.needs import check_needs, ranked_otherwise
from automl.compression.importance.registry import IMPORTANCES
from automl.errors import UsageError
from automl.methods import NEEDS
from automl.network.traced_model import TracedModel, trace_network

IMAGES = images_of(4)


class Half(nn.Module):
    """One group behind a ReLU and a batch norm, another behind neither."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.second, self.third = nn.Conv2d(6, 5, 3), nn.Conv2d(5, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(F.relu(self.norm(self.first(x))))).mean((2, 3))  # type: ignore[no-any-return]


class Smooth(nn.Module):
    """No ReLU, no batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x))).mean((2, 3))  # type: ignore[no-any-return]


class Stepped(Smooth):
    """Outputs that have no slope."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


def traced(model: type[nn.Module]) -> TracedModel:
    return trace_network(seeded(model).eval(), (1, 3, 6, 6), resolutions=())


@pytest.mark.parametrize(
    ("importance", "model", "targets", "reason"),
    [
        ("taylor", Plain, None, "taylor needs labels, .* none that are class indices or pictures"),
        ("lda", Plain, None, "lda needs labels, .* none that are class indices"),
        ("lda", Plain, torch.rand(4, 4), "lda needs labels, .* none that are class indices"),
        ("taylor", Plain, torch.tensor([0, 1, 4, 2]), r"classes of the model's: .* 0 to 4.*\(4,\)"),
        ("taylor", Plain, torch.tensor([0, -1, 3, 2]), "from -1 to 3"),
        ("taylor", Plain, torch.rand(4, 1, 6, 6), "neither class indices nor pictures"),
        ("fisher", Stepped, None, "fisher needs gradients, .* what first writes"),
        ("bn-scale", Smooth, None, "bn-scale ranks channels by the scales of their batch norms"),
        ("apoz", Smooth, None, "apoz counts zeros behind ReLUs"),
    ],
)
def test_what_is_lacking_is_said(
    importance: str, model: type[nn.Module], targets: Tensor | None, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        check_needs(importance, traced(model), IMAGES[:2], targets)
    assert importance != "obs"


def test_a_compressor_refuses_it_too() -> None:
    with pytest.raises(UsageError, match="taylor needs labels"):
        compressor_for(seeded(Plain), IMAGES, importance="taylor")
    compressor_for(seeded(Plain), IMAGES, torch.tensor([0, 1, 2, 3]), importance="taylor")


def test_what_is_there_is_enough() -> None:
    labels = torch.tensor([0, 1, 3, 2])
    for name in set(IMPORTANCES.names()) - {"wins"}:  # of which test_wins.py says it
        check_needs(name, traced(Half), IMAGES[:2], labels)
    check_needs("fisher", traced(Plain), IMAGES[:2], None)
    check_needs("obs:updates=3", traced(Smooth), IMAGES[:2], None)


def test_groups_that_are_ranked_by_something_else_are_named() -> None:
    network = traced(Half)
    assert [group.name for group in network.network.groups] == ["first", "second"]
    assert ranked_otherwise("bn-scale", network)[0].startswith("second: no batch norm")
    assert ranked_otherwise("apoz", network)[0].startswith("second: no ReLU")
    (said,) = ranked_otherwise("bn-scale", traced(Plain))
    assert said.startswith("first and 1 more: no batch norm")
    assert ranked_otherwise("obs", network) == ()


def test_every_need_is_one_that_is_known() -> None:
    for method in IMPORTANCES.describe():
        assert method.needs <= NEEDS.keys()
