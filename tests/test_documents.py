"""Files that others wrote: what they may not do, and how it is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from automl.documents import (
    DEEPEST,
    open_file,
    parse_json,
    read_bytes,
    read_json,
    read_text,
    read_toml,
    shown,
)
from automl.errors import PolicyError, TableError, UsageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.json"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"here: not JSON: .* at column 2 \(the file ends early\)"),
        ('{\n"a" 1}', r"here:2:5: not JSON: Expecting ':' delimiter"),
        ("[" * 100_000, "lie more than 32 deep"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "lie more than 32 deep"),
        ('{"a":' * 500 + "1" + "}" * 500, "lie more than 32 deep"),
        ("1" * 5000, "a number of thousands of digits"),
        ('{"a": [18446744073709551616]}', "'a': the number 18446744073709551616 takes more than"),
        ('{"a": 1e999}', "'a': the number inf is not finite"),
        ("[NaN]", "NaN is no number that JSON has"),
        ('{"a": -Infinity}', "-Infinity is no number that JSON has"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' is given twice"),
        ('{"a": "\\ud800"}', r"'a': the text '\\ud800' holds half a character"),
        ('{"a\\u0000": 1}', r"the text 'a\\x00' holds a NUL"),
        ("", "not JSON"),
    ],
)
def test_what_no_document_of_ours_holds_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        parse_json(text, "here", UsageError)
    assert str(raised.value).startswith("here")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 200


def test_documents_that_are_deep_or_exact_enough_are_read() -> None:
    deep = json.loads("[" * DEEPEST + "]" * DEEPEST)
    assert parse_json(json.dumps(deep), "here", UsageError) == deep
    values = {"a": 2**64 - 1, "b": -(2**63), "c": 1e308, "d": "é\U0001f600", "e": 1e-300}
    assert parse_json(json.dumps(values), "here", UsageError) == values
    assert parse_json('{"a": 1, "a": 2}', "here", UsageError, unique=False) == {"a": 2}


def test_what_would_take_far_more_memory_than_its_text_is_refused() -> None:
    with pytest.raises(TableError, match=r"its values would take [\d,]+ bytes of memory"):
        parse_json("[" + "{}," * 1_000_000 + "{}]", "here", TableError)


def test_a_byte_order_mark_is_no_mistake(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path, UsageError) == {"a": 1}
    path.write_text('{"a": 1}', encoding="utf-16")
    with pytest.raises(UsageError, match=r"is not text \(byte 0\); save it as UTF-8"):
        read_text(path, UsageError)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path, path: Path) -> None:
    os.mkfifo(path)
    for place, message in (
        (path, r"some.json: it is a pipe or a device, not a file"),
        (tmp_path, "it is a folder, not a file"),
        (Path("/dev/zero"), "it is a pipe or a device"),
        (Path("a\0b"), "null byte"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "sume.json", r"No such file or directory \(did you mean some.json\?\)"),
    ):
        with pytest.raises(UsageError, match=message):
            read_bytes(place, UsageError, "table")
    with pytest.raises(OSError, match="it is a pipe"):
        open_file(path)


def test_a_file_that_is_too_large_is_not_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(PolicyError, match=r"has 1,099,511,627,776 bytes, over the 2,097,152"):
        read_bytes(path, PolicyError)  # whose kind is a ValueError, as Python's own are


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = \n", "not TOML: .*line 1"),
        ("a = " + "[" * 50_000, "lie more than 32 deep"),
        ("a = 1\nb" + ".b" * 20_000 + " = 1", "line 2: a key of more than 32 parts"),
        ("[b" + ".b" * 20_000 + "]", "a key of more than 32 parts"),
        ('"b c"' + '."b c"' * 20_000 + " = 1", "a key of more than 32 parts"),
        ("a = 0x" + "f" * 5000, "'a': the number of 20000 bits takes more than 64 bits"),
        ("a = " + "1" * 5000, "a number of thousands of digits"),
        ("a = inf", "the number inf is not finite"),
        ('a = "\\u0000"', "holds a NUL"),
        ("a = 1\na = 2", "not TOML"),
    ],
)
def test_what_is_no_setting_of_anybody_is_refused(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as raised:
        read_toml(path, UsageError, "recipe")
    assert str(raised.value).startswith(f"recipe {path}")
    assert len(str(raised.value)) < 300


def test_sentences_with_points_are_no_long_keys(path: Path) -> None:
    path.write_text('a = "' + "one. " * 100 + '..."\nb = 1.5')
    assert read_toml(path, UsageError)[0]["b"] == 1.5


def test_values_are_shown_on_one_short_line() -> None:
    for value in ("x" * 10**6, list(range(10**6)), 10**6000, "\x1b[2J\n", {"a": "\ud800"}):
        assert shown(value).isprintable()
        assert len(shown(value)) < 70
