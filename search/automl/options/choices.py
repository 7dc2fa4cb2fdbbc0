"""What a search may choose, in words: kinds of choices and the forms that layers may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from automl.errors import UnknownNameError, UsageError
from automl.methods import registry

#: What opens kinds of choices that go by other names, or opens forms.
WORDS: Final = ("channels", "blocks", "bits", "resolution", "forms")
#: Kinds that these words open.
_WORDED: Final = ("channels", "block", "bits", "resolution", "form")
#: All kinds, as far as the other options leave them open; no forms, and no further kinds.
AUTO: Final = ("auto",)


@dataclass(frozen=True, slots=True)
class Opened:
    """What may be chosen.

    Attributes:
        channels, blocks, bits, resolution: Whether these are.
        forms: Names of forms that layers may take.
        kinds: Names of further kinds.
        paying: Whether forms are open only where they cost less than the layer on the target.
    """

    channels: bool = True
    blocks: bool = True
    bits: bool = True
    resolution: bool = True
    forms: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    paying: bool = False


def check_choices(value: Any) -> tuple[str, ...]:
    """Words, each once, of one text with commas or of several.

    Raises:
        UnknownNameError: A word that opens nothing; names the nearest.
        UsageError: No words, or "auto" among others.
    """
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(word, str) for word in found):
        raise UsageError(f"expected auto or a list such as channels,rank, found {value!r:.60}")
    words = tuple(dict.fromkeys(word.strip() for text in found for word in text.split(",")))
    if words == AUTO:
        return words
    forms, kinds = _forms(), _kinds()
    known = (*WORDS, *forms, *kinds)
    for word in words:
        if word == AUTO[0]:
            raise UsageError("auto opens what is usual by itself: give it alone")
        if word not in known:
            raise UnknownNameError("choice", word, known)
    return words


def opened_by(words: Sequence[str], kinds: Sequence[str], depth: bool) -> Opened:
    """What words open, with further kinds that were asked for by name.

    Args:
        words: As checked.
        kinds: Names of further kinds.
        depth: Whether blocks may be left out where the words do not say it.
    """
    if tuple(words) == AUTO:
        return Opened(blocks=depth, kinds=tuple(kinds))
    forms = _forms()
    named = [form for word in words for form in forms.get(word, ())]
    if "forms" in words:
        named += [
            each.name for each in registry("forms").ours.values() if each.details.get("usual")
        ]
    further = [word for word in words if word not in (*WORDS, *forms)]
    return Opened(
        channels="channels" in words,
        blocks="blocks" in words,
        bits="bits" in words,
        resolution="resolution" in words,
        forms=tuple(dict.fromkeys(named)),
        kinds=tuple(dict.fromkeys((*kinds, *further))),
        paying="forms" in words,
    )


def _forms() -> Mapping[str, tuple[str, ...]]:
    """Forms by the words that open them: by a family's several, by its own name one."""
    found, families = registry("forms"), dict[str, list[str]]()
    for method in found.ours.values():
        if method.details.get("family"):
            families.setdefault(str(method.details["family"]), []).append(method.name)
    alone = {name: (name,) for name in found.names()}
    return {**{word: tuple(names) for word, names in families.items()}, **alone}


def _kinds() -> tuple[str, ...]:
    """Further kinds, that are open where they are named: merges, and those of other packages."""
    return tuple(name for name in registry("kinds").names() if name not in _WORDED)
