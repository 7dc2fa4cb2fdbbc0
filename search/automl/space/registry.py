"""The kinds of choices by name, ours and those that other packages add.

Another package adds one with an entry point in the group "automl.kinds" whose value is a subclass
of `automl.compression.CompressionKind` that is made without arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from automl.errors import SpaceError, UsageError
from automl.methods import Method, Registry
from automl.policy import Policy
from automl.space.kind import AnyKind


def _entry(name: str, maker: str, paper: str, summary: str) -> Method:
    return Method(name, summary, paper, f"automl.compression.kinds.{maker}")


#: In the order of a vector's entries.
KINDS: Final = Registry[AnyKind](
    "kinds",
    (
        _entry(
            "resolution",
            "resolution:ResolutionKind",
            "Tan and Le, EfficientNet, 2019",
            "The size of the network's square input.",
        ),
        _entry(
            "block",
            "block:BlockKind",
            "Huang et al., Deep Networks with Stochastic Depth, 2016",
            "Whether a block stays or is replaced by the identity.",
        ),
        _entry(
            "channels",
            "channels:ChannelsKind",
            "He et al., Channel Pruning, 2017",
            "How many channels of a group stay.",
        ),
        _entry(
            "bits",
            "bits:BitsKind",
            "Wang et al., HAQ, 2019",
            "The bits of a layer's weights and of what it reads.",
        ),
        _entry(
            "form",
            "form:FormKind",
            "Denton et al., 2014 (low rank); see automl methods forms",
            "The set that a layer's weights are brought to, and the operators that it runs as.",
        ),
        _entry(
            "merge",
            "merge:MergeKind",
            "Fu et al., DepthShrinker, 2022; Kim et al., LayerMerge, 2024",
            "Whether layers that follow each other become one, without what is between them.",
        ),
        _entry(
            "alternative",
            "alternative:AlternativeKind",
            "Molchanov et al., LANA, 2022; Bercovich et al., Puzzle, 2024",
            "What runs in the place of convolutions in a row; see automl methods blocks.",
        ),
    ),
    "kind of choice",
)


def kind_of(name: str) -> AnyKind:
    """The kind of that name.

    Raises:
        SpaceError: There is none (names the nearest), or its package fails to load it.
    """
    try:
        method = KINDS.get(name)
        return _made(name, method.maker)
    except UsageError as problem:
        raise SpaceError(str(problem)) from None


@cache
def _made(name: str, maker: str) -> AnyKind:
    """Made once; by what makes it too, for a name can be lent to another kind."""
    return KINDS.make(name)


def further_choices(policy: Policy) -> Iterator[tuple[AnyKind, str, Any]]:
    """What a policy chooses of further kinds: (kind, part, option).

    Raises:
        SpaceError: An unknown kind (names the nearest), or a text that is none of its options.
    """
    for name in policy.further:
        kind = kind_of(name)
        for part, option in choices_of(kind, policy).items():
            yield kind, part, option


def merges_of(policy: Policy) -> frozenset[str]:
    """Names of the merges of layers that a policy makes.

    Raises:
        SpaceError: A text that is none of a merge's options.
    """
    chosen = choices_of(kind_of("merge"), policy)
    return frozenset(name for name, apart in chosen.items() if not apart)


def alternatives_of(policy: Policy) -> dict[str, str]:
    """What a policy has run in the place of units, by their names.

    Raises:
        SpaceError: A text that is none of their options.
    """
    kind = kind_of("alternative")
    return {unit: form for unit, form in choices_of(kind, policy).items() if form != "dense"}


def choices_of(kind: AnyKind, policy: Policy) -> dict[str, Any]:
    """What a policy chooses of one kind, by part.

    Raises:
        SpaceError: A text that is none of its options.
    """
    try:
        return dict(kind.chosen(policy))
    except SpaceError:
        raise
    except ValueError as problem:
        raise SpaceError(f"{kind.name}: {problem}") from problem
