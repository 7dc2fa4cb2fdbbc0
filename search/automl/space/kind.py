"""What a kind of choice is: its options, their text, and the shapes that they lead to.

A kind is one class, named in the registry (`automl.space.registry`) or in an entry point of the
group "automl.kinds". What is here needs no torch; `automl.compression.CompressionKind` adds what
an option does to a model, and `automl.compression.LayerKind` is the base of those that give a layer
another form.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Generic, TypeVar, cast

from automl.network import Block, Layer, LayerPlan, Network
from automl.policy import Bits, Policy, operators_bytes

T = TypeVar("T")

#: A kind offers no more options than this where they are numbers that could be more.
MAXIMUM_OPTIONS: Final = 16


@dataclass(frozen=True, slots=True)
class Variable:
    """One choice.

    Attributes:
        kind: Name of the kind of choice.
        name: The part that is chosen for: a channel group, a block, a layer; "" for the network.
        options: From the one that changes most to the dense one, which is last; values that are
            equal and hash by what they mean, and whose repr says it.
    """

    kind: str
    name: str
    options: tuple[Hashable, ...]


#: Which of several ways to run are offered to a layer: (the layer, the operators of each way).
Offered = Callable[[Layer, Sequence[Sequence[Layer]]], Sequence[bool]]


@dataclass(frozen=True, slots=True)
class SpaceSettings:
    """What the user leaves open, for kinds to make their variables from.

    Attributes:
        round_to: Kept channels are multiples of this (per group name, a sixteenth where a group
            is not named). A group's dense count is always among its options.
        resolutions: Input sizes to choose from; None for all that the network runs at.
        depth: Whether blocks may be left out.
        minimum_share: No group keeps less than this share of its channels.
        precisions: What a layer may compute in; the finest is the dense one.
        weight_only: Bits that weights may be rounded to by themselves, for their size.
        keep_first_last: Hold the first and the last layer that has bits at 8, or at the finest
            where 8 bits are not offered; neither becomes one with a later layer, whose bits it
            would have.
        kinds: Names of further kinds that are open.
        forms: Names of forms that layers may take.
        alternatives: Names of alternatives that units may become; () for all without a special
            kernel, where that kind is open.
        offered: Which of their parameters are offered; None for all.
        refused: Per layer, forms with their parameters that are not: what has no price there.
    """

    round_to: int | Mapping[str, int] = 1
    resolutions: Sequence[int] | None = None
    depth: bool = True
    minimum_share: float = 0.0
    precisions: Sequence[Bits] = ()
    weight_only: Sequence[int] = ()
    keep_first_last: bool = False
    kinds: Sequence[str] = ()
    forms: Sequence[str] = ()
    alternatives: Sequence[str] = ()
    offered: Offered | None = None
    refused: Mapping[str, Collection[Hashable]] = field(default_factory=dict)


class ChoiceKind(ABC, Generic[T]):
    """A kind of choice; T is the type of its options.

    Attributes:
        name: As variables, policies and studies write it.
        ordered: Whether an option between two others does something in between. Agents that draw
            along a line sort the options of other kinds by their sensitivity.
        lowers: Whether an option makes its layer run as other operators (`lower`).
        replaces: Whether an option makes others run in the place of several layers (`running`).
        lowers_arrays: Whether `lower` takes a layer with arrays of channels and groups in place of
            numbers, and gives such: prices of many widths are then asked for at once.
    """

    name: ClassVar[str]
    ordered: ClassVar[bool] = False
    lowers: ClassVar[bool] = False
    replaces: ClassVar[bool] = False
    lowers_arrays: ClassVar[bool] = False

    @abstractmethod
    def variables(self, network: Network, settings: SpaceSettings) -> Sequence[Variable]:
        """What is open in a network, in network order.

        Raises:
            SpaceError: The settings ask for what the network cannot be.
        """

    @abstractmethod
    def format(self, option: T) -> str:
        """An option as studies and policies write it."""

    @abstractmethod
    def parse(self, text: str) -> T:
        """The option that `format` writes so.

        Raises:
            ValueError: The text is none.
        """

    def show(self, option: T) -> str:
        """An option for people."""
        return self.format(option)

    def inside(self, block: Block) -> Sequence[str]:
        """The parts of this kind that go when a block is left out."""
        return block.layers

    def is_at(self, plan: LayerPlan, part: str) -> bool:
        """Whether a layer is one that a part's choice is about."""
        return plan.layer.name == part

    def chosen(self, policy: Policy) -> Mapping[str, T]:
        """What a policy chooses, by part.

        Raises:
            ValueError: The policy has a text that is no option.
        """
        return {part: self.parse(text) for part, text in policy.further.get(self.name, {}).items()}

    def policy(self, options: Mapping[str, T]) -> Policy:
        """The policy of these choices alone."""
        return Policy(
            further={self.name: {part: self.format(each) for part, each in options.items()}}
        )

    def lower(self, option: T, layer: Layer) -> tuple[Layer, ...]:
        """The operators that a layer runs as, in their order; biases belong to the last of them."""
        return (layer,)

    def gone(self, option: T, network: Network, part: str) -> frozenset[str]:
        """Names of layers that are no more where a part is an option; none of the dense one.

        Of kinds that replace layers.
        """
        return frozenset()

    def running(self, option: T, network: Network, part: str) -> tuple[LayerPlan, ...]:
        """What runs in their place, in order; it computes in float. Of the dense option nothing."""
        return ()

    def takes_bits(self, option: T, bits: Bits) -> bool:
        """Whether what a layer runs as can be rounded to bits and still be what was chosen."""
        return True

    def kernel(self, option: T, operator: Layer) -> Any:
        """The kernel whose rows price one of the operators; "" for the plain one.

        Args:
            option: What was chosen.
            operator: Where `lowers_arrays`, its channels and groups may be arrays; then this may be
                an array of names.
        """
        return ""

    def bytes(self, option: T, layer: Layer, bits: Bits) -> Any:
        """Bytes of a layer's weights in a packed file, biases aside.

        Args:
            option: What was chosen.
            layer: Where `lowers_arrays`, its channels and groups may be arrays; then so is this.
            bits: Of the layer.
        """
        return operators_bytes(self.lower(option, layer), bits)


#: A kind whose options nobody who holds it needs to know.
AnyKind = ChoiceKind[Any]


def channel_counts(variable: Variable) -> tuple[int, ...]:
    """The options of a variable of kind "channels" as plain counts."""
    return cast(tuple[int, ...], variable.options)


def bit_options(variable: Variable) -> tuple[Bits, ...]:
    """The options of a variable of kind "bits"."""
    return cast(tuple[Bits, ...], variable.options)


def sixteenth(channels: int) -> int:
    """A sixteenth of a group's channels, at least one: the granularity where no device minds."""
    return max(1, channels // MAXIMUM_OPTIONS)
