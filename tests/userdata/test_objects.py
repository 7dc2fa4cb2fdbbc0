"""Objects that are named are found, executed once, and called with literals alone."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from automl.errors import DataError, ModelError
from automl.userdata.objects import load_factory, load_object

COUNTED = """
import sys

sys.counted = getattr(sys, "counted", 0) + 1


class Knob:
    pass


def number():
    return NUMBER


def knob():
    return Knob()
"""


@pytest.fixture
def counted(user: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sys.counted", 0, raising=False)
    path = user.with_name("counted.py")
    path.write_text(COUNTED.replace("NUMBER", "1"))
    return path


def executions() -> int:
    return int(sys.counted)  # type: ignore[attr-defined]


def test_a_file_is_executed_once_however_it_is_written(counted: Path) -> None:
    numbers = [
        load_object(f"{place}:{name}")
        for place in (counted, counted.name, f"../{counted.parent.name}/{counted.name}")
        for name in ("number", "knob")
    ]
    assert executions() == 1
    assert len({id(each.__globals__) for each in numbers}) == 1


def test_a_file_that_was_edited_is_executed_anew(counted: Path) -> None:
    """Also within the second and with the same size, which cached bytecode does not tell apart."""
    before = load_object("counted.py:number")
    counted.write_text(COUNTED.replace("NUMBER", "2"))
    assert (before(), load_object("counted.py:number")()) == (1, 2)
    assert executions() == 2


def test_files_of_one_stem_are_two_modules(counted: Path) -> None:
    other = counted.parent / "other" / counted.name
    other.parent.mkdir()
    other.write_text(COUNTED.replace("NUMBER", "2"))
    first, second = (load_object(f"{path}:knob") for path in (counted, other))
    assert (load_object(f"{counted}:number")(), load_object(f"{other}:number")()) == (1, 2)
    assert first.__module__ != second.__module__
    for made in (first(), second()):
        assert type(pickle.loads(pickle.dumps(made))) is type(made)


def test_a_file_that_fails_leaves_no_module_and_is_tried_again(counted: Path) -> None:
    working = counted.read_text()
    known = set(sys.modules)
    counted.write_text(working + "\nraise OSError('not yet')\n")
    with pytest.raises(ModelError, match=r"counted.py cannot be imported: OSError: not yet"):
        load_object("counted.py:number")
    assert not {name for name in sys.modules.keys() - known if "counted" in name}
    counted.write_text(working)
    assert load_object("counted.py:number")() == 1


def test_a_file_that_is_no_python(user: Path) -> None:
    user.write_text("def network(:\n")
    with pytest.raises(ModelError, match=r"mine.py cannot be imported: SyntaxError: .*line 1"):
        load_object("mine.py:network")


ARGUMENTS = """
def factory(*args, **kwargs):
    return args, kwargs

number = 3
"""


@pytest.mark.parametrize(
    ("written", "args", "kwargs"),
    [
        ("()", (), {}),
        ("('resnet18', pretrained=True)", ("resnet18",), {"pretrained": True}),
        ("(-1, 2.5, sizes=(8, 16), kept=None)", (-1, 2.5), {"sizes": (8, 16), "kept": None}),
        ("('a:b()', options={'x': [1]}, )", ("a:b()",), {"options": {"x": [1]}}),
    ],
)
def test_a_factory_with_arguments(
    user: Path, written: str, args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    user.write_text(ARGUMENTS)
    assert load_factory(f"{user}:factory{written}")() == (args, kwargs)
    assert load_factory("mine.py:factory")() == ((), {})


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("factory(open('x'))", r"factory\(open\('x'\)\): open\('x'\) is no literal: arguments are"),
        ("factory(number)", "number is no literal"),
        ("factory(__import__('os').getpid())", "is no literal"),
        ("factory(*[1, 2])", r"\*\[1, 2\] is no literal"),
        ("factory(**{'a': 1})", r"write each argument out, without \*\*"),
        ("factory(1 +)", "is not a call in Python"),
        ("number(1)", "mine.py:number is a int, expected a function"),
        ("factroy(1)", r"has no 'factroy' \(did you mean factory\?\)"),
    ],
)
def test_arguments_are_never_evaluated(user: Path, written: str, said: str) -> None:
    user.write_text(ARGUMENTS)
    with pytest.raises(DataError, match=said):
        load_factory(f"mine.py:{written}", DataError)
