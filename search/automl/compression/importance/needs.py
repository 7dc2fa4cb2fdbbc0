"""What an importance needs of the data and of the network, looked for before work starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import nn

from automl.compression.importance.objectives import label_loss
from automl.compression.importance.places import places_of
from automl.compression.importance.registry import IMPORTANCES
from automl.compression.importance.walks import GradientWalk, readings_of
from automl.compression.importance.writers import norm_scales_of
from automl.errors import Raised, UsageError, attempt
from automl.methods import parse_choice
from automl.network import ChannelGroup, TracedModel, output_rows
from automl.userdata import only_tensor

Tensor = torch.Tensor


def check_needs(
    importance: str, traced: TracedModel, images: Tensor, targets: Tensor | None
) -> None:
    """Refuse an importance that lacks what it needs.

    Args:
        importance: As it is written.
        traced: The network.
        images: A few calibration inputs.
        targets: Of all calibration inputs; None where there are none.

    Raises:
        UsageError: It says what is lacking.
    """
    name = parse_choice(importance).name
    needs = IMPORTANCES.get(name).needs
    if needs & {"labels", "classes"}:
        _check_labels(name, traced.model, images, targets, classes="classes" in needs)
    if "gradients" in needs:
        _check_gradients(name, traced, images[:1])
    for need, (has, lacking, _) in _OF_GROUPS.items():
        groups = traced.network.groups
        if need in needs and groups and not any(has(group, traced) for group in groups):
            raise UsageError(f"importance {name} {lacking}", options=("importance",))


def ranked_otherwise(importance: str, traced: TracedModel) -> tuple[str, ...]:
    """What to say of groups that lack what an importance needs of them, and of pieces of maxout."""
    name = parse_choice(importance).name
    needs, groups = IMPORTANCES.get(name).needs, traced.network.groups
    plain = [group for group in groups if not group.units]
    found = [
        _told([each.name for each in plain if not has(each, traced)], instead)
        for need, (has, _, instead) in _OF_GROUPS.items()
        if need in needs
    ]
    if "maxout" not in needs and not IMPORTANCES.build(importance).ranks_pieces:
        found.append(_told([each.name for each in groups if each.units], _BY_WINS))
    return tuple(filter(None, found))


def _told(names: Sequence[str], instead: str) -> str:
    """Of some groups, that they are ranked in another way; "" of none."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}: {instead}" if names else ""


def has_pieces(group: ChannelGroup, traced: TracedModel) -> bool:
    """Whether a group's channels are the pieces of maxout units."""
    return group.units > 0


def has_relu(group: ChannelGroup, traced: TracedModel) -> bool:
    """Whether a group's channels are read past a ReLU."""
    return any(place.rectified for place in places_of(group, traced.trace))


def has_norm(group: ChannelGroup, traced: TracedModel) -> bool:
    """Whether a batch norm writes a group's channels, or wrote them before it was folded."""
    return bool(norm_scales_of(group, traced))


_BY_WINS: Final = "pieces of maxout units, they go by how often each is the largest of its unit"
#: What is asked of at least one group: whether a group has it, what is said where none does, and of
#: those that do not.
_OF_GROUPS: Final[Mapping[str, tuple[Callable[[ChannelGroup, TracedModel], bool], str, str]]] = {
    "original-norms": (
        has_norm,
        "ranks channels by the scales of their batch norms, and the model has none before any"
        " channels that can go",
        "no batch norm to rank channels by, they go by the length of their filters",
    ),
    "relus": (
        has_relu,
        "counts zeros behind ReLUs, and the model reads no channels that can go behind one",
        "no ReLU to count zeros behind, they go by the magnitude of their values",
    ),
    "maxout": (
        has_pieces,
        "counts which pieces of maxout units are the largest, and the model takes no maximum over"
        " pieces that can go",
        "no pieces of maxout units, they go by second-order error",
    ),
}


def _check_labels(
    name: str, model: nn.Module, images: Tensor, targets: Tensor | None, *, classes: bool
) -> None:
    kind = "class indices" if classes else "class indices or pictures"
    if targets is None or (classes and targets.is_floating_point()):
        raise UsageError(
            f"importance {name} needs labels, and the calibration data has none that are {kind}",
            options=("importance", "data"),
        )
    with torch.no_grad():
        outputs = only_tensor(model(images))
    if targets.is_floating_point():
        label_loss(outputs, targets[: len(images)])
        return
    low, high = int(targets.min()), int(targets.max())
    if outputs.dim() != 2 or low < 0 or high >= outputs.shape[1]:
        raise UsageError(
            f"importance {name} needs labels that are classes of the model's: those of the"
            f" calibration data go from {low} to {high}, and an output is of shape"
            f" {tuple(outputs.shape[1:])}",
            options=("importance", "data"),
        )


def _check_gradients(name: str, traced: TracedModel, image: Tensor) -> None:
    """Raise UsageError where the outputs cannot be differentiated by what layers read."""
    model = traced.model
    groups = [group for group in traced.network.groups if not group.units]
    walk = GradientWalk(model, [each for group in groups for each in readings_of(model, group)])

    def slopes() -> dict[str, Tensor]:
        return walk.walk(
            lambda: iter([(slice(0, 1), image)]), lambda found, _: output_rows(found, 1).sum()
        )

    found = attempt(slopes)
    lacking = [
        group.name for group in groups if isinstance(found, Raised) or group.name not in found
    ]
    if lacking:
        why = f": {found}" if isinstance(found, Raised) else ""
        raise UsageError(
            f"importance {name} needs gradients, and the model's outputs have none with respect to"
            f" what {lacking[0]} writes{why}",
            options=("importance",),
        )
