"""How a class declares its options, and how they are made of what was given."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

from automl.errors import OptionError, UsageError, nearest
from automl.options.kinds import Kind


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        name: As the key and the argument are written.
        kind: What its values are.
        help: What it decides, in one line.
        default: Where it is not given; MISSING where it has to be.
        unit: Of a value that is a plain number; "" where it has none.
        shown: The default in words; "" where the help says it.
        annotation: Type of its values, as Python writes it.
        written: What its flag is called, where that is not its name.
    """

    name: str
    kind: Kind
    help: str
    default: object
    unit: str
    shown: str
    annotation: str
    written: str = ""

    @property
    def flag(self) -> str:
        """Its flag: the name with hyphens for underscores."""
        return f"--{(self.written or self.name).replace('_', '-')}"

    @property
    def default_text(self) -> str:
        """The default in words; "" where there is none to tell."""
        if self.shown or not isinstance(self.default, str | int | float | tuple):
            return self.shown
        if isinstance(self.default, bool):
            return "yes" if self.default else "no"
        found = self.default if isinstance(self.default, tuple) else (self.default,)
        return ",".join(map(str, found))

    def described(self) -> str:
        """What it decides, its unit and its default."""
        told = f"default: {self.default_text}" if self.default_text else ""
        beside = "; ".join(word for word in (self.unit, told) if word)
        return f"{self.help} [{beside}]" if beside else self.help

    def checked(self, value: object, place: str = "") -> object:
        """The value in its own type; None where that is the default.

        Raises:
            OptionError: It is none; names `place`, where it was given.
        """
        if value is None and self.default is None:
            return None
        try:
            return self.kind.check(value)
        except OptionError:
            raise
        except UsageError as error:
            raise OptionError(self.name, str(error), place) from None


def option(
    kind: Kind,
    default: object = MISSING,
    *,
    help: str,
    unit: str = "",
    shown: str = "",
    written: str = "",
) -> Any:
    """A field of a class of options. Without a default it has to be given.

    Args:
        kind: What its values are.
        default: A checked value.
        help: What it decides, in one line.
        unit: Of a plain number.
        shown: The default in words, for the help.
        written: What its flag is called, where that is not its name.
    """
    metadata = {"kind": kind, "help": help, "unit": unit, "shown": shown, "written": written}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def options_of(owner: type[Options]) -> tuple[Option, ...]:
    """The options of a class, those of its bases last."""
    found = {each.name: each for each in fields(owner) if "kind" in each.metadata}
    order = [name for each in owner.__mro__ for name in inspect.get_annotations(each)]
    return tuple(
        Option(
            name=name,
            default=found[name].default,
            annotation=str(found[name].type),
            **found[name].metadata,
        )
        for name in dict.fromkeys(order)
        if name in found
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options that are checked when they are made.

    Raises:
        OptionError: A value of the wrong kind, or values that exclude each other.
    """

    def __post_init__(self) -> None:
        for each in options_of(type(self)):
            object.__setattr__(self, each.name, each.checked(getattr(self, each.name)))
        self.check_together()

    def check_together(self) -> None:
        """Refuse values that exclude each other."""


O = TypeVar("O", bound=Options)  # noqa: E741


def make_values(
    owner: type[Options], given: Mapping[str, Any], only: Collection[str]
) -> dict[str, Any]:
    """The checked values of some options of a class, of arguments by name.

    Raises:
        UsageError: An argument that is none of them; names the nearest.
        OptionError: A value of the wrong kind.
    """
    known = {each.name: each for each in options_of(owner) if each.name in only}
    _refuse_unknown(given, known)
    return {name: each.checked(given.get(name, each.default)) for name, each in known.items()}


def make_options(owner: type[O], given: Mapping[str, Any]) -> O:
    """The options of a class, of arguments by name.

    Raises:
        UsageError: An argument that is no option; names the nearest.
        OptionError: A value of the wrong kind, values that exclude each other, or one that is
            missing.
    """
    known = {each.name: each for each in options_of(owner)}
    _refuse_unknown(given, known)
    for name, each in known.items():
        if each.default is MISSING and name not in given:
            raise OptionError(name, f"has to be given: {each.help}")
    return owner(**given)


def _refuse_unknown(given: Mapping[str, Any], known: Mapping[str, Option]) -> None:
    for name in given:
        if name not in known:
            raise UsageError(f"no argument {name!r}{nearest(name, known)}")


def values_of(options: Options) -> dict[str, Any]:
    """The checked values by name."""
    return {each.name: getattr(options, each.name) for each in options_of(type(options))}
