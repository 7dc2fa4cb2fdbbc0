"""An alternative as modules: built of its stages, cut with the network around, put in its place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from automl.compression.blocks.base import BlockForm, Stage
from automl.network import BlockUnit, LayerPlan, merge_layers, replace_layer, slice_side

Tensor = torch.Tensor


class Beside(nn.Module):
    """Convolutions of one input, whose outputs are concatenated."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, values: Tensor) -> Tensor:
        """[images, channels of all, height, width]."""
        return torch.cat([part(values) for part in self.parts], 1)


@dataclass(frozen=True, slots=True)
class Built:
    """What runs in a unit's place.

    Attributes:
        stages: As they were priced.
        body: All but the last convolution.
        last: That one: a layer of its own, that a finishing step solves as any other.
    """

    stages: tuple[Stage, ...]
    body: nn.Sequential
    last: nn.Module

    @property
    def convolutions(self) -> list[nn.Module]:
        """In the order of the stages."""
        inner = [each for each in self.body.modules() if isinstance(each, nn.Conv2d)]
        return [*inner, self.last]

    def __call__(self, values: Tensor) -> Tensor:
        """What is written for what enters."""
        written: Tensor = self.last(self.body(values))
        return written

    def copied(self) -> Built:
        """With modules of its own."""
        return Built(self.stages, copy.deepcopy(self.body), copy.deepcopy(self.last))

    def cut(self, entering: Tensor | None, leaving: Tensor | None) -> None:
        """Keep these channels of what it reads and writes, in place; all where it is None."""
        made = iter(self.convolutions)
        for stage in self.stages:
            through = False
            for plan in stage.plans:
                module, through = next(made), plan.scales_groups
                if entering is not None:
                    slice_side(module, "through" if through else "in", entering)
            if not through:
                entering = None  # what is written inside stays whole
        if leaving is not None:
            slice_side(self.last, "out", leaving)


def build(form: BlockForm, unit: BlockUnit, generator: torch.Generator | None = None) -> Built:
    """An alternative with drawn weights; without a generator they are zero.

    Raises:
        ValueError: The unit cannot become this.
    """
    stages = form.stages(unit)
    if not stages:
        raise ValueError(f"{form.name} has no stages for {unit.name}")
    inner: list[nn.Module] = []
    for stage in stages[:-1]:
        made = [_convolution(plan, generator) for plan in stage.plans]
        inner += made if len(made) == 1 else [Beside(made)]
        inner += [nn.ReLU()] if stage.relu else []
    (end,) = stages[-1].plans
    body = nn.Sequential(*inner).eval().requires_grad_(False)
    return Built(stages, body, _convolution(end, generator).eval().requires_grad_(False))


def _convolution(plan: LayerPlan, generator: torch.Generator | None) -> nn.Module:
    layer = plan.layer
    module: Any = nn.utils.skip_init(
        nn.Conv2d,
        layer.in_channels,
        layer.out_channels,
        layer.kernel,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
    )
    with torch.no_grad():
        module.bias.zero_()
        if generator is None:
            module.weight.zero_()
        else:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    made: nn.Module = module
    return made


#: Positions that stay along sides that lose some: (module, side).
Kept = Mapping[tuple[str, str], Tensor]


def put(
    model: nn.Module, unit: BlockUnit, built: Built, kept: Kept | None = None
) -> Callable[[], None]:
    """Run an alternative in a unit's place, in place; gives what undoes it.

    Args:
        model: With the unit's convolutions.
        unit: The place.
        built: What runs there; it becomes part of the model, and is cut.
        kept: Positions that stay; None where the model is whole.
    """
    before = {name: model.get_submodule(name) for name in unit.chain}
    kept = kept or {}
    built.cut(kept.get((unit.chain[0], "in")), kept.get((unit.chain[-1], "out")))
    merge_layers(model, unit.chain, built.last, built.body)

    def undo() -> None:
        for name, module in before.items():
            replace_layer(model, name, module)

    return undo
