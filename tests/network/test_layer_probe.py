"""What layer a module is, seen from its runs alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import written_layers as written
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.layer_probe import Visit, plain_form


def form_of(module: nn.Module, *shape: int, **kwargs: Any) -> Any:
    args = (torch.empty(0),)
    visit = Visit(module.eval(), args, kwargs, torch.Size(shape), torch.float32)
    return plain_form(visit)


def test_padding_of_its_own_becomes_the_layers() -> None:
    module = written.EvenChild(4, 6, 3, stride=2, padding=1)
    found = form_of(module, 1, 4, 8, 8)
    assert type(found) is nn.Conv2d
    assert (found.padding, found.stride) == ((2, 2), (2, 2))
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(found(x), module(x))


@pytest.mark.parametrize("groups", [1, 2])
def test_a_scale_after_a_layer_becomes_part_of_it(groups: int) -> None:
    class Scaled(nn.ConvTranspose2d):
        def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
            factor = torch.arange(1.0, 7.0).view(1, -1, 1, 1)
            return super().forward(x) * factor - factor.square()

    module = Scaled(4, 6, 2, 2, groups=groups)
    found = form_of(module, 1, 4, 5, 5)
    assert type(found) is nn.ConvTranspose2d
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(found(x), module(x), rtol=1e-4, atol=1e-4)


def test_further_arguments_are_handed_on() -> None:
    class Optional(nn.Linear):
        def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
            return F.linear(x, self.weight, self.bias) * scale

    module = Optional(4, 3)
    found = form_of(module, 2, 4, scale=3.0)
    x = torch.randn(5, 4)
    torch.testing.assert_close(found(x, scale=3.0), module(x, scale=3.0))


class Twice(nn.Conv2d):
    """Two calls: which is the layer is not told."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * super().forward(x.flip(-1))


class Noisy(nn.Linear):
    """Other weights at each call."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight + torch.randn_like(self.weight), self.bias)


class Shifting(nn.Module):
    """Adds a value per place, not per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.at


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (Twice(4, 4, 1), (1, 4, 4, 4)),
        (Noisy(4, 4), (1, 4)),
        (Shifting(), (1, 4, 4, 4)),
        (nn.InstanceNorm2d(4, affine=True), (1, 4, 4, 4)),
        (nn.GroupNorm(2, 4), (1, 4, 4, 4)),
        (nn.LayerNorm(4), (1, 3, 4)),
    ],
)
def test_other_things_are_no_layer(module: nn.Module, shape: tuple[int, ...]) -> None:
    assert form_of(module, *shape) is None


def test_a_norm_that_casts_is_the_plain_norm() -> None:
    class Casting(nn.BatchNorm1d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input.float()).to(input.dtype)

    module = Casting(4)
    module.running_mean = torch.arange(4.0)
    found = form_of(module, 2, 4, 6)
    assert type(found) is nn.BatchNorm1d
    x = torch.randn(3, 4, 6)
    assert torch.equal(found(x), module(x))
