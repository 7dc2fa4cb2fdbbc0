"""What a search may choose, in words: kinds of choices and the forms that layers may take."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from automl.errors import UnknownNameError, UsageError
from automl.methods import registry

#: What opens kinds of choices that go by other names, or opens forms.
WORDS: Final = ("channels", "blocks", "bits", "resolution", "forms")
#: Kinds that these words open.
_WORDED: Final = ("channels", "block", "bits", "resolution", "form")
#: The kind that alternatives of units are options of.
_ALTERNATIVE: Final = "alternative"
#: All kinds, as far as the other options leave them open; forms where they are known to pay, and no
#: further kinds.
AUTO: Final = ("auto",)
#: Forms that "auto" opens where they cost less and nothing but work is limited: their price is
#: certain there, and no layer can be rounded instead.
AUTO_FORMS: Final = ("rank", "taps", "separable")


@dataclass(frozen=True, slots=True)
class Opened:
    """What may be chosen.

    Attributes:
        channels, blocks, bits, resolution: Whether these are.
        forms: Names of forms that layers may take.
        kinds: Names of further kinds.
        alternatives: Names of what units may become, where that kind is among these; () for all.
        paying: Whether forms are open only where they cost less than the layer on the target.
        said: Whether the forms were asked for, in words.
    """

    channels: bool = True
    blocks: bool = True
    bits: bool = True
    resolution: bool = True
    forms: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    paying: bool = False
    said: bool = True


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
    known = (*WORDS, *forms, *kinds, *registry("blocks").names())
    for word in words:
        if word == AUTO[0]:
            raise UsageError("auto opens what is usual by itself: give it alone")
        if word not in known:
            raise UnknownNameError("choice", word, known)
    return words


def opened_by(
    words: Sequence[str], kinds: Sequence[str], depth: bool, limited: Collection[str] = ()
) -> Opened:
    """What words open, with further kinds that were asked for by name.

    Args:
        words: As checked.
        kinds: Names of further kinds.
        depth: Whether blocks may be left out where the words do not say it.
        limited: Quantities that the budget limits.
    """
    forms = _forms()
    if tuple(words) == AUTO:
        usual = Opened(blocks=depth, kinds=tuple(kinds))
        if {*limited} != {"macs"}:
            return usual
        cheaper = tuple(form for word in AUTO_FORMS for form in forms[word])
        return replace(usual, forms=cheaper, paying=True, said=False)
    named = [form for word in words for form in forms.get(word, ())]
    if "forms" in words:
        named += [
            each.name for each in registry("forms").ours.values() if each.details.get("usual")
        ]
    alternatives = tuple(word for word in words if word in registry("blocks").names())
    further = [word for word in words if word not in (*WORDS, *forms, *alternatives)]
    if alternatives:
        further.append(_ALTERNATIVE)
    if _ALTERNATIVE in (*words, *kinds):
        alternatives = ()  # all
    return Opened(
        channels="channels" in words,
        blocks="blocks" in words,
        bits="bits" in words,
        resolution="resolution" in words,
        forms=tuple(dict.fromkeys(named)),
        kinds=tuple(dict.fromkeys((*kinds, *further))),
        alternatives=alternatives,
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
