"""automl.toml: what a project does not want to type each time. Flags of the command win."""

from __future__ import annotations

import itertools
import os
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from automl.documents import read_toml, shown
from automl.errors import OptionError, UsageError, nearest
from automl.options import Option, Options, SearchOptions, TaskOptions, make_options, options_of
from automl.userdata.sources import FOLDER, is_source

NAME: Final = "automl.toml"
#: Lines that look as if a key began on them, of which each is tried.
_TRIES: Final = 16
#: The classes of options whose names are keys of the file.
OWNERS: Final[tuple[type[Options], ...]] = (TaskOptions, SearchOptions)

O = TypeVar("O", bound=Options)  # noqa: E741


@dataclass(frozen=True, slots=True)
class Settings:
    """Options that were given, by name.

    Attributes:
        values: Checked.
        places: Where each was given: its flag, or "automl.toml line 3: trials".
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)

    def with_flags(self, flags: Mapping[Option, object]) -> Settings:
        """The settings with the flags that were given (not None) in place of these.

        A model on the command line is another than the file's, whose weights are then not taken.

        Raises:
            OptionError: A value of the wrong kind; names the flag.
        """
        given = {each: value for each, value in flags.items() if value not in (None, [])}
        found = {
            each.name: each.checked(_read(each, raw), each.flag) for each, raw in given.items()
        }
        kept = {k: v for k, v in self.values.items() if k != "weights" or "model" not in found}
        places = {each.name: each.flag for each in given}
        return Settings(kept | found, {**self.places, **places})

    def but(self, names: Collection[str]) -> Settings:
        """The settings without some."""
        return Settings({k: v for k, v in self.values.items() if k not in names}, self.places)

    def with_values(self, **values: object) -> Settings:
        """The settings with values that the program itself fills in."""
        return Settings({**self.values, **values}, self.places)

    def get(self, name: str) -> Any:
        """The value of an option, or its default where it was not given."""
        known = {each.name: each for owner in OWNERS for each in options_of(owner)}
        return self.values.get(name, known[name].default)

    def make(self, owner: type[O]) -> O:
        """The options of a class, with the defaults of what was not given.

        Raises:
            OptionError: One is missing, or values exclude each other; names where it was given.
        """
        names = {each.name for each in options_of(owner)}
        try:
            return make_options(owner, {k: v for k, v in self.values.items() if k in names})
        except OptionError as error:
            place = error.place or self.places.get(error.option, "")
            raise OptionError(error.option, error.reason, place, options=error.options) from None


def read_settings(folder: Path, owners: Sequence[type[Options]] = OWNERS) -> Settings:
    """The settings in `folder`/automl.toml; none where there is no such file.

    Relative paths start at the file's folder.

    Args:
        folder: Where the file is.
        owners: Whose options are its keys.

    Raises:
        UsageError: Not TOML, or an unknown key (with the nearest).
        OptionError: A value of the wrong kind; names the line.
    """
    path = folder / NAME
    if not os.path.lexists(path):
        return Settings()
    found, written = read_toml(path, UsageError)
    known = {each.name: each for owner in owners for each in options_of(owner)}
    values: dict[str, object] = {}
    places: dict[str, str] = {}
    for key, value in found.items():
        line = _line_of(key, written)
        place = NAME if line is None else f"{NAME} line {line}"
        if key not in known:
            raise UsageError(f"{place}: unknown key {shown(key)}{nearest(key, known)}")
        places[key] = f"{place}: {key}"
        values[key] = _resolved(known[key].checked(value, places[key]), folder)
    return Settings(values, places)


def _read(option: Option, raw: object) -> object:
    """What a flag's check takes; several texts of one flag are a list."""
    return option.kind.read(raw) if isinstance(raw, str) else raw


def _resolved(value: object, folder: Path) -> object:
    """A relative path, file.py:name, or name of data on disk, from the folder of the file."""
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, str) and value.startswith(FOLDER):
        return f"{FOLDER}{folder / value.removeprefix(FOLDER)}"
    if isinstance(value, str) and (".py:" in value or is_source(value)):
        return str(folder / value)
    return value


def _line_of(key: str, written: str) -> int | None:
    """The line on which a key of the file begins; None where it is not found by a few tries."""
    lines = written.splitlines()
    begins = re.compile(rf"\s*\[*\s*[\"']?{re.escape(key)}[\"']?\s*[\].=]")
    likely = (number for number, line in enumerate(lines) if begins.match(line))
    for number in itertools.islice(likely, _TRIES):
        if _is_whole("\n".join(lines[:number])):
            return number + 1
    return None


def _is_whole(written: str) -> bool:
    """Whether a part of the file ends outside of a text or a list."""
    try:
        tomllib.loads(written)
    except ValueError:
        return False
    return True
