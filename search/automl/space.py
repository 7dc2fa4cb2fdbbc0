"""The choices: what a search may vary, as vectors of option indices."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from automl.errors import SpaceError
from automl.network import Block, ChannelGroup, Network
from automl.policy import Bits, Policy, fineness, is_float

Kind = Literal["resolution", "block", "channels", "bits"]
Option = int | Bits
#: Option indices, one column per variable: [variables] or [policies, variables].
Vectors = NDArray[np.int16]

MAXIMUM_OPTIONS: Final = 16


@dataclass(frozen=True, slots=True)
class Variable:
    """One choice.

    Attributes:
        kind: What is chosen.
        name: The channel group's, block's or layer's name; "" for the resolution.
        options: Ascending, the dense one last: kept channels, (0, 1) for a block that is left out
            or kept, input sizes, or `Bits`.
    """

    kind: Kind
    name: str
    options: tuple[Option, ...]

    def index(self, option: Option) -> int:
        """The option's position.

        Raises:
            SpaceError: If the variable has no such option.
        """
        try:
            return self.options.index(option)
        except ValueError:
            shown = ", ".join(map(str, self.options))
            what = f"{self.kind} of {self.name!r}" if self.name else self.kind
            raise SpaceError(f"{what} cannot be {option}: the space has {shown}") from None


@dataclass(frozen=True)
class Space:
    """All choices of a search.

    Attributes:
        variables: In the order of a vector's entries.
        nested: Per block variable: (its index, indices of the variables that live inside the block
            and mean nothing when it is left out).
    """

    variables: tuple[Variable, ...]
    nested: tuple[tuple[int, tuple[int, ...]], ...] = ()

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of options per variable."""
        return tuple(len(variable.options) for variable in self.variables)

    @cached_property
    def dense(self) -> Vectors:
        """The vector of the dense network."""
        return np.array([size - 1 for size in self.sizes], dtype=np.int16)

    @cached_property
    def size(self) -> int:
        """How many different networks there are (inner choices of left-out blocks not counted)."""
        inside = {inner for _, inners in self.nested for inner in inners}
        gates = {gate for gate, _ in self.nested}
        total = math.prod(
            size for i, size in enumerate(self.sizes) if i not in inside and i not in gates
        )
        for gate, inners in self.nested:
            without = self.sizes[gate] - 1
            total *= without + math.prod(self.sizes[inner] for inner in inners)
        return total

    @cached_property
    def digest(self) -> str:
        """Hash of all choices; a study is not resumed with another space."""
        text = repr((self.variables, self.nested))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def positions(self) -> Mapping[tuple[Kind, str], int]:
        """Index of each variable by (kind, name)."""
        return {(variable.kind, variable.name): i for i, variable in enumerate(self.variables)}

    def of_kind(self, kind: Kind) -> tuple[int, ...]:
        """Indices of the variables of one kind."""
        return tuple(i for i, variable in enumerate(self.variables) if variable.kind == kind)

    def encode(self, policy: Policy) -> Vectors:
        """The policy as a vector [variables].

        Raises:
            SpaceError: If the policy makes a choice that the space does not hold.
        """
        vector = self.dense.copy()
        for kind, name, option in _choices(policy):
            position = self.positions.get((kind, name))
            if position is None:
                raise SpaceError(f"the space has no choice of {kind} {name!r}".rstrip())
            vector[position] = self.variables[position].index(option)
        return self.canonical(vector)

    def decode(self, vector: Vectors) -> Policy:
        """The policy of a vector [variables]; every variable of the space is named in it."""
        channels: dict[str, int] = {}
        bits: dict[str, Bits] = {}
        removed: set[str] = set()
        resolution = 0
        for variable, index in zip(self.variables, vector.tolist(), strict=True):
            option = variable.options[index]
            if isinstance(option, Bits):
                bits[variable.name] = option
            elif variable.kind == "channels":
                channels[variable.name] = option
            elif variable.kind == "resolution":
                resolution = option
            elif not option:
                removed.add(variable.name)
        return Policy(channels, frozenset(removed), resolution, bits)

    def canonical(self, vectors: Vectors) -> Vectors:
        """Vectors [..., variables] with the insides of left-out blocks set to dense.

        Networks are equal exactly when their canonical vectors are.
        """
        result = vectors.copy()
        for gate, inners in self.nested:
            if inners:
                columns = list(inners)
                kept = vectors[..., gate, None] == self.sizes[gate] - 1
                result[..., columns] = np.where(kept, vectors[..., columns], self.dense[columns])
        return result

    def random(self, count: int, generator: np.random.Generator) -> Vectors:
        """`count` canonical vectors [count, variables], each option as likely as the next."""
        drawn = generator.integers(0, self.sizes, size=(count, len(self.sizes)))
        return self.canonical(drawn.astype(np.int16))


#: Extra sensitivity of pairs of choices: (two variables, table over the options of both).
Pairwise = tuple[tuple[tuple[int, int], NDArray[np.float64]], ...]


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What each choice does to the network when it is made alone.

    Attributes:
        single: Per variable of the space, per option: mean squared change of the logits relative to
            their variance, 0 for the dense option. Additive to first order.
        images: How many calibration images it was measured on.
        pairwise: What two choices do beyond the sum of both, where that is known: (two variables of
            the space, sensitivity [options of the one, options of the other], 0 where either is
            dense).
    """

    single: tuple[NDArray[np.float64], ...]
    images: int
    pairwise: Pairwise = ()


def _choices(policy: Policy) -> list[tuple[Kind, str, Option]]:
    choices: list[tuple[Kind, str, Option]] = []
    choices.extend(("channels", name, count) for name, count in policy.channels.items())
    choices.extend(("block", name, 0) for name in sorted(policy.removed))
    choices.extend(("bits", name, bits) for name, bits in policy.bits.items())
    if policy.resolution:
        choices.append(("resolution", "", policy.resolution))
    return choices


def sixteenth(channels: int) -> int:
    """A sixteenth of a group's channels, at least one: the granularity where no device minds."""
    return max(1, channels // 16)


def build_space(
    network: Network,
    *,
    round_to: int | Mapping[str, int] = 1,
    resolutions: Sequence[int] | None = None,
    depth: bool = True,
    minimum_share: float = 0.0,
    precisions: Sequence[Bits] = (),
    weight_only: Sequence[int] = (),
    keep_first_last: bool = False,
) -> Space:
    """The space of a network: its resolution, its blocks, its channel groups and layers' bits.

    Args:
        network: What was traced.
        round_to: Kept channels are multiples of this (per group name, a sixteenth where a group
            is not named). A group's dense count is always among its options.
        resolutions: Input sizes to choose from; None for all that the network runs at.
        depth: Whether blocks may be left out.
        minimum_share: No group keeps less than this share of its channels.
        precisions: What a layer may compute in; the finest is the dense one.
        weight_only: Bits that weights may be rounded to by themselves, for their size.
        keep_first_last: Hold the first and the last layer that has bits at 8, or at the finest
            where 8 bits are not offered.

    Raises:
        SpaceError: If the network does not run at one of the resolutions, or nothing is left to
            choose.
    """
    variables: list[Variable] = []
    sizes = _resolutions(network, resolutions)
    if len(sizes) > 1:
        variables.append(Variable("resolution", "", sizes))
    blocks = network.blocks if depth else ()
    variables += [Variable("block", block.name, (0, 1)) for block in blocks]
    for group in network.groups:
        options = _channel_options(group, round_to, minimum_share)
        if len(options) > 1:
            variables.append(Variable("channels", group.name, options))
    variables += _bits(network, _bit_options(precisions, weight_only), keep_first_last)
    if all(len(variable.options) == 1 for variable in variables):
        raise SpaceError("nothing to choose: no channel group, block, resolution or bits are open")
    positions = {(variable.kind, variable.name): i for i, variable in enumerate(variables)}

    def inside(block: Block) -> tuple[int, ...]:
        groups: list[tuple[Kind, str]] = [("channels", name) for name in block.groups]
        layers: list[tuple[Kind, str]] = [("bits", name) for name in block.layers]
        return tuple(positions[key] for key in (*groups, *layers) if key in positions)

    nested = tuple((positions["block", block.name], inside(block)) for block in blocks)
    return Space(tuple(variables), nested)


def _bit_options(precisions: Sequence[Bits], weight_only: Sequence[int]) -> tuple[Bits, ...]:
    """Ascending, the dense one last."""
    computed = set(precisions) or ({Bits()} if weight_only else set())
    finest = max(computed, key=fineness, default=Bits())
    if weight_only and not is_float(finest):
        raise SpaceError("weights can be rounded alone only where layers may compute in float")
    return tuple(sorted({*computed, *(Bits(bits, 32) for bits in weight_only)}, key=fineness))


def _bits(network: Network, options: tuple[Bits, ...], keep_first_last: bool) -> list[Variable]:
    """A choice for each layer that has its own bits, in network order."""
    if len(options) < 2:
        return []
    layers = list(
        dict.fromkeys(
            plan.layer.name for plan in network.plans if plan.owner == plan.layer.name != ""
        )
    )
    held = next((bits for bits in (Bits(8, 8), Bits(8, 32)) if bits in options), options[-1])
    ends = {layers[0], layers[-1]} if keep_first_last and layers else set[str]()
    return [Variable("bits", name, (held,) if name in ends else options) for name in layers]


def _resolutions(network: Network, wanted: Sequence[int] | None) -> tuple[int, ...]:
    if wanted is None:
        return network.resolutions
    unknown = sorted(set(wanted) - set(network.resolutions))
    if unknown:
        known = ", ".join(map(str, network.resolutions))
        raise SpaceError(f"the network does not run at resolution {unknown[0]}: it has {known}")
    return tuple(sorted({*wanted, network.resolutions[-1]})) if network.resolutions else ()


def _channel_options(
    group: ChannelGroup, round_to: int | Mapping[str, int], minimum_share: float
) -> tuple[int, ...]:
    default = sixteenth(group.channels)
    granularity = round_to if isinstance(round_to, int) else round_to.get(group.name, default)
    if granularity < 1:
        raise SpaceError(f"channels cannot be rounded to multiples of {granularity}")
    step = math.lcm(granularity, group.partition)
    step *= max(1, math.ceil(group.channels / step / MAXIMUM_OPTIONS))
    least = max(step, math.ceil(minimum_share * group.channels))
    counts = [count for count in range(step, group.channels, step) if count >= least]
    return (*counts, group.channels)


def channel_counts(variable: Variable) -> tuple[int, ...]:
    """The options of a variable of kind "channels" as plain counts."""
    return cast(tuple[int, ...], variable.options)
