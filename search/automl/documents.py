"""Files that others wrote: read whole within bounds, and taken apart as JSON or TOML.

What cannot be read is an error of the caller's kind, in one line that names the file and the place.
Reading waits for nobody and takes no more memory than ten times the file and 100 MB.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import reprlib
import stat
import sys
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from automl.errors import AutomlError, nearest

if TYPE_CHECKING:
    from pydantic import ValidationError

#: Bytes that a document may have where its reader does not say.
MOST_BYTES: Final = 1 << 21
#: Lists and objects that may lie within each other.
DEEPEST: Final = 32
#: Whole numbers take 64 bits, with or without a sign.
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1
#: What a text has to hold for values to be possible that no document of ours has: large numbers,
#: and characters that are written by number.
_ODD: Final = re.compile(r"\d{19}|[eE]\+?\d{3}|\\u|\0")
#: Dotted keys: tomllib takes the square of their length.
_DOTTED: Final = re.compile(
    r"""(?m)(?:^|[\[{,])[ \t]*+(?:(?:"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'|[\w-]++)[ \t]*+\.[ \t]*+)"""
    rf"{{{DEEPEST}}}"
)
#: Bytes that values take at least, by the character that shows them: objects, lists, texts, items.
_SIZES: Final = {"{": 184, "[": 64, '"': 40, ",": 24}
#: Values may take so many times the text, and so much besides.
_TIMES, _BESIDES = 9, 90_000_000
#: Bytes of a TOML file.
_TOML_BYTES: Final = 1 << 19
_SHOWN: Final = 60
#: How a file is opened; Windows has one of these alone, and others have the rest.
_READING: Final = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)


class _Fault(ValueError):
    """What is wrong in a document, without its place."""


def open_file(path: Path) -> BinaryIO:
    """A file to read; what is no file is not waited for.

    Raises:
        OSError, ValueError: It cannot be opened, or is a folder, a pipe or a device.
    """
    if path.is_dir():  # which Windows refuses to open
        raise OSError(0, "it is a folder, not a file")
    handle = os.open(path, _READING)
    kind = os.fstat(handle).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise OSError(0, "it is a pipe or a device, not a file")


def read_bytes(
    path: Path, error: type[AutomlError], what: str = "", *, most: int = MOST_BYTES
) -> bytes:
    """The content of a file.

    Args:
        path: The file.
        error: What is raised.
        what: What the file is called in messages, before its path.
        most: Bytes that it may have.

    Raises:
        AutomlError: Of the kind `error`: no such file, with the nearest; a folder, a pipe or a
            device in its place; or a file that is too large or cannot be read.
    """
    place = f"{what} {path}".strip()
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise error(f"{place} has {size:,} bytes, over the {most:,} that are read")
            return file.read()
    except (OSError, ValueError) as problem:
        if isinstance(problem, error):
            raise
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        near = (
            nearest(path.name, files_beside(path)) if isinstance(problem, FileNotFoundError) else ""
        )
        raise error(f"{place}: {reason or 'unreadable'}{near}") from problem


def files_beside(path: Path) -> list[str]:
    """Files of the same kind in the same folder."""
    try:
        names = os.listdir(path.parent)
    except (OSError, ValueError):
        return []
    return [name for name in names if name.endswith(path.suffix)]


def read_text(
    path: Path, error: type[AutomlError], what: str = "", *, most: int = MOST_BYTES
) -> str:
    """The text of a UTF-8 file, without a byte order mark; else as `read_bytes`."""
    return decoded(read_bytes(path, error, what, most=most), f"{what} {path}".strip(), error)


def decoded(content: bytes, where: str, error: type[AutomlError]) -> str:
    """UTF-8 as text, without a byte order mark.

    Raises:
        AutomlError: Of the kind `error`: something else, with the first byte that shows it.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        other = "; save it as UTF-8" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise error(f"{where} is not text (byte {problem.start}){other}") from None


def read_json(
    path: Path,
    error: type[AutomlError],
    what: str = "",
    *,
    most: int = MOST_BYTES,
    unique: bool = True,
) -> Any:
    """The values of a JSON file; else as `read_bytes` and `parse_json`."""
    text = read_text(path, error, what, most=most)
    return parse_json(text, f"{what} {path}".strip(), error, unique=unique)


def parse_json(text: str, where: str, error: type[AutomlError], *, unique: bool = True) -> Any:
    """The values of a JSON text.

    Args:
        text: The text.
        where: What it is, for messages.
        error: What is raised.
        unique: Whether a key that an object has twice is refused.

    Raises:
        AutomlError: Of the kind `error`: not JSON, with line and column; a key twice; values in
            values beyond `DEEPEST`; numbers that are none or take more than 64 bits; texts with
            half a character; or so many values that they take far more memory than the text.
    """
    try:
        _refuse_dense(text)
        found = json.loads(
            text, parse_constant=_no_number, object_pairs_hook=_once if unique else None
        )
        if text.count("[") + text.count("{") > DEEPEST or _ODD.search(text):
            _check_values(found)
    except json.JSONDecodeError as problem:
        cut = " (the file ends early)" if problem.pos >= len(text.rstrip()) else ""
        place, column = f"{where}:{problem.lineno}:{problem.colno}", ""
        if "\n" not in text:  # a line of a file, whose place is known
            place, column = where, f" at column {problem.colno}"
        raise error(f"{place}: not JSON: {problem.msg}{column}{cut}") from None
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: {_reason(problem)}") from None
    return found


def read_toml(path: Path, error: type[AutomlError], what: str = "") -> tuple[dict[str, Any], str]:
    """The values of a TOML file, and its text.

    Raises:
        AutomlError: Of the kind `error`: as `read_bytes`; not TOML, with line and column; or values
            as `parse_json` refuses them.
    """
    text = read_text(path, error, what, most=_TOML_BYTES)
    place = f"{what} {path}".strip()
    try:
        long = _DOTTED.search(text)
        if long is not None:
            number = text.count("\n", 0, long.start()) + 1
            raise _Fault(f"line {number}: a key of more than {DEEPEST} parts")
        found = tomllib.loads(text)
        _check_values(found)
    except tomllib.TOMLDecodeError as problem:
        raise error(f"{place}: not TOML: {problem}") from None
    except (ValueError, RecursionError) as problem:
        raise error(f"{place}: {_reason(problem)}") from None
    return found, text


def _reason(problem: Exception) -> str:
    if isinstance(problem, _Fault):
        return str(problem)
    if isinstance(problem, RecursionError):
        return f"values lie more than {DEEPEST} deep in each other"
    return "a number of thousands of digits"


def _refuse_dense(text: str) -> None:
    """Refuse what is almost nothing but brackets: its values take many times the text's bytes."""
    if len(text) < _BESIDES // 128:
        return  # a value of 184 bytes takes at least two characters
    bytes_taken = sys.getsizeof(text) + sum(
        size * text.count(character) for character, size in _SIZES.items()
    )
    if bytes_taken > _TIMES * len(text) + _BESIDES:
        raise _Fault(f"its values would take {bytes_taken:,} bytes of memory")


def _no_number(name: str) -> Any:
    raise _Fault(f"{name} is no number that JSON has")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _Fault(f"the key {shown(twice)} is given twice")
    return found


def _check_values(document: Any) -> None:
    """Refuse values that no document of ours has; the first is named by its key."""
    within: list[Iterator[tuple[Any, Any]]] = [iter([(None, document)])]
    while within:
        if len(within) > DEEPEST + 1:
            raise _Fault(f"values lie more than {DEEPEST} deep in each other")
        for key, value in within[-1]:
            if isinstance(value, dict):
                _check_each((name, name) for name in value)
                within.append(iter(value.items()))
                break
            if isinstance(value, list):
                within.append(zip(itertools.repeat(key), value, strict=False))
                break
            _check_each([(key, value)])
        else:
            within.pop()


def _check_each(values: Iterable[tuple[Any, Any]]) -> None:
    for key, value in values:
        if reason := _wrong(value):
            raise _Fault(f"{_key(key)}{reason}")


def _key(key: Any) -> str:
    return "" if key is None else f"{shown(key)}: "


def _wrong(value: Any) -> str:
    if isinstance(value, str):
        if "\0" in value:
            return f"the text {shown(value)} holds a NUL"
        if not value.isascii() and re.search("[\ud800-\udfff]", value):
            return f"the text {shown(value)} holds half a character"
    if isinstance(value, int) and not _LEAST <= value <= _MOST:
        return f"the number {shown(value)} takes more than 64 bits"
    if isinstance(value, float) and not isfinite(value):
        return f"the number {value} is not finite"
    return ""


def shown(value: object, most: int = _SHOWN) -> str:
    """A value for a message, on one line, cut where it is long."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"of {value.bit_length()} bits"
    try:
        text = _SHORT.repr(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}..."


_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 4 * _SHOWN
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxtuple = 8


def fault_of(problem: ValidationError, known: Collection[str] = ()) -> str:
    """The first of what pydantic found wrong, by its key.

    Args:
        problem: Found in values of one document.
        known: Keys that there are, of which the nearest is named.
    """
    fault = problem.errors(include_url=False, include_context=False)[0]
    key = ".".join(_parts(fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(key, known)}"
    if fault["type"] == "missing":
        return f"{key} is missing"
    return f"{key + ': ' if key else ''}{fault['msg']}, found {shown(fault['input'])}"


def _parts(location: Iterable[object]) -> Iterator[str]:
    """Keys and places as they are written, those of an attacker's making cut."""
    for part in location:
        yield str(part) if isinstance(part, int) else shown(part).strip("'\"")
