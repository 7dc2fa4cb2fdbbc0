"""Choices of further kinds in a policy file: checked by the kinds, which are found by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from automl.errors import PolicyError, Raised, UsageError, attempt, nearest
from automl.methods import registry
from automl.policy.policy import FIELDS


class _Kind(Protocol):
    """What is needed of a kind here; `automl.space.ChoiceKind` is all of it."""

    def parse(self, text: str) -> object:
        """An option."""
        ...


def check_further(further: Mapping[str, Mapping[str, str]], where: str) -> None:
    """Check that all kinds are known, and all options theirs.

    Args:
        further: Per kind, per part: the option's text.
        where: What is read, for messages.

    Raises:
        PolicyError: An unknown kind, with the nearest; one whose package fails; one that a policy
            has a field for; or a text that is none of a kind's options.
    """
    kinds = registry("kinds")
    known = [name for name in kinds.names() if name not in FIELDS]
    for name, options in further.items():
        if name not in known:
            raise PolicyError(f"{where}: no {kinds.noun} {name!r}{nearest(name, known)}")
        try:
            kind = cast(_Kind, kinds.make(name))
        except UsageError as problem:
            raise PolicyError(f"{where}: {problem}") from problem
        for part, text in options.items():
            found = attempt(lambda kind=kind, text=text: kind.parse(text))  # type: ignore[misc]
            if isinstance(found, Raised):
                reason = f"{where}.{name}.{part}: {text!r} is no option: {found}"
                raise PolicyError(reason) from found.error
