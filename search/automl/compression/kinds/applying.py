"""Further kinds of choices applied to a network, part by part."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from automl.compression.kinds.base import CompressionKind, compression_kind
from automl.errors import SpaceError, nearest
from automl.network import Flow, Trace, TracedModel, place_of, replace_layer, spliced
from automl.policy import Bits, Policy
from automl.space import further_choices

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class FurtherPart:
    """A part of a network that a further kind changes.

    Attributes:
        kind: What is chosen.
        name: Of the module.
        option: What it becomes.
    """

    kind: CompressionKind[Any]
    name: str
    option: Any

    def finish(self, module: nn.Module, moments: Tensor | None) -> None:
        """As `CompressionKind.finish`."""
        self.kind.finish(self.option, module, moments)

    def takes_bits(self, bits: Bits) -> bool:
        """As `ChoiceKind.takes_bits`."""
        return self.kind.takes_bits(self.option, bits)

    def build(self, module: nn.Module) -> nn.Module:
        """As `CompressionKind.build`."""
        return self.kind.build(self.option, module)

    def outline(self, module: nn.Module) -> nn.Module:
        """As `CompressionKind.outline`."""
        return self.kind.outline(self.option, module)


def further_parts(model: nn.Module, policy: Policy) -> tuple[FurtherPart, ...]:
    """What a policy changes beside channels, blocks, resolution and bits.

    Options that are the dense ones, and parts of blocks that are left out, are not among it.

    Raises:
        SpaceError: An unknown kind or option, one that cannot be applied, a part that the model
            lacks, one that cannot become what is chosen, or one that is chosen twice.
    """
    names = dict(model.named_modules())
    gone = tuple(f"{block}." for block in policy.removed)
    found: dict[str, FurtherPart] = {}
    for kind, part, option in further_choices(policy):
        made = compression_kind(kind)
        if not made.by_part:
            continue
        if part not in names:
            raise SpaceError(f"{kind.name} of {part!r}: no such part{nearest(part, names)}")
        if not made.changes(option) or f"{part}.".startswith(gone):
            continue
        refusal = made.refusal(option, names[part])
        if refusal:
            shown = made.format(option)
            raise SpaceError(f"{kind.name} of {part!r} cannot be {shown}: {refusal}")
        if part in found:
            other = found[part].kind.name
            raise SpaceError(f"{other} and {kind.name} of {part!r} cannot both be chosen")
        found[part] = FurtherPart(made, part, option)
    return tuple(found.values())


def in_place(
    model: nn.Module,
    parts: Sequence[FurtherPart],
    moments_of: Callable[[str], Tensor | None] = lambda name: None,
) -> nn.Module:
    """A network with what runs in its parts' places.

    Args:
        model: Changed in place. Parts that are finished stay what they are.
        parts: What is changed.
        moments_of: By a part's name, mean second moments of what it reads, for parts that are not
            finished; without them these become what is nearest without data.
    """
    for part in parts:
        module = model.get_submodule(part.name)
        part.finish(module, moments_of(part.name))
        replacement = part.build(module).train(module.training)
        replace_layer(model, part.name, replacement)
    return model


@dataclass(frozen=True, slots=True)
class Running:
    """A network as it runs, with other modules in the places of its parts.

    Attributes:
        trace: Of the dense network, with these modules' operations.
        places: Per part, the name of what runs in its place.
        ends: Per part, the layer with weights that writes what it gives; "" where there is none.
    """

    trace: Trace
    places: Mapping[str, str]
    ends: Mapping[str, str]

    def layer_of(self, name: str) -> str:
        """The part in whose place a module runs, or its own name."""
        found = (
            part
            for part, place in self.places.items()
            if name == place or name.startswith(f"{place}.")
        )
        return next(found, name)

    def bits(self, flow: Flow, bits: Mapping[str, Bits]) -> dict[str, Bits]:
        """The bits of each layer that runs: those of the part in whose place it does.

        Args:
            flow: Of the trace, without blocks that are left out.
            bits: Per layer of the dense network.
        """
        owners = {name: self.layer_of(name) for name in flow.layers}
        return {name: bits[owner] for name, owner in owners.items() if owner in bits}


def hollow(module: nn.Module) -> nn.Module:
    """A copy whose parameters take no memory: for what is recorded and of no use beside that."""
    made = copy.deepcopy(module)
    for parameter in made.parameters():
        parameter.data = parameter.new_zeros(()).expand(parameter.shape)
    return made


def running(
    traced: TracedModel,
    parts: Sequence[FurtherPart],
    build: Callable[[FurtherPart, nn.Module], nn.Module] = FurtherPart.outline,
) -> Running:
    """The dense network with what runs in the places of its parts.

    Args:
        traced: The network.
        parts: What is changed.
        build: Makes what runs, of which only the operations count.
    """
    model, names = traced.model, [part.name for part in parts]
    built = [build(part, model.get_submodule(part.name)).eval() for part in parts]
    trace = spliced(traced.trace, model, dict(zip(names, built, strict=True)))
    written = {call.step.module: call.outputs for call in traced.trace.calls}
    producers = trace.producers()
    ends = {name: producers[written[name][0]].step.module for name in names}
    return Running(trace, {name: place_of(model, name) for name in names}, ends)
