"""One declaration of an option is a flag, a key of automl.toml and an argument of Python."""

from __future__ import annotations

import inspect
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from automl.api import takes_options
from automl.cli.flags import flags_of, takes_flags
from automl.errors import OptionError, UsageError
from automl.options.declare import make_options, option, options_of, values_of
from automl.options.kinds import whole
from automl.options.search import SearchOptions
from automl.userdata.settings import read_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmer(SearchOptions):
    """The options of a search, and one more."""

    kelvin: int = option(whole(2), 300, help="How warm it is.", unit="K")


GIVEN = {"target": "cpu", "budget": "50%"}


def as_flag(folder: Path, *words: str) -> tuple[str, Any]:
    """What a command prints whose flags are made from the class, and the options that it was given.

    automl.toml of the folder is read.
    """
    app, found = typer.Typer(rich_markup_mode=None), []
    options = {each.name: each for each in flags_of(Warmer)}

    @app.command()
    @takes_flags(*options.values())
    def search(**flags: Any) -> None:
        settings = read_settings(folder, [Warmer])
        given = settings.with_flags({options[name]: value for name, value in flags.items()})
        found.append(given.with_values(**GIVEN | given.values).make(Warmer))

    done = CliRunner().invoke(app, [*words], terminal_width=200)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output, found[0] if found else None


@takes_options(Warmer)
def as_argument(model: object, **options: Any) -> Warmer:
    """Search."""
    return make_options(Warmer, options)


def test_an_option_of_a_subclass_is_a_flag(tmp_path: Path) -> None:
    printed, _ = as_flag(tmp_path, "--help")
    assert "--kelvin N" in printed
    assert "How warm it is. [K; default: 300]" in printed
    assert as_flag(tmp_path, "--kelvin", "5")[1].kelvin == 5
    assert as_flag(tmp_path)[1].kelvin == 300


def test_it_is_a_key_of_automl_toml(tmp_path: Path) -> None:
    (tmp_path / "automl.toml").write_text("kelvin = 4\n")
    assert as_flag(tmp_path)[1].kelvin == 4
    assert as_flag(tmp_path, "--kelvin", "5")[1].kelvin == 5


def test_it_is_an_argument_of_python() -> None:
    assert as_argument(None, **GIVEN, kelvin=6).kelvin == 6
    signature = inspect.signature(as_argument)
    assert [*signature.parameters][:2] == ["model", "kelvin"]
    assert signature.parameters["kelvin"].default == 300
    assert signature.parameters["target"].default is inspect.Parameter.empty
    assert "    kelvin: How warm it is. [K; default: 300]" in (as_argument.__doc__ or "")


@pytest.mark.parametrize(
    ("name", "flag", "value", "said"),
    [
        ("kelvin", "1", 1, "expected a whole number from 2 on, found 1"),
        ("kelvin", "hot", "hot", "expected a whole number from 2 on, found 'hot'"),
        ("trials", "0", 0, "expected a whole number from 1 on, found 0"),
        ("time", "soon", "soon", "expected a time such as 90s, 10min or 2h, found 'soon'"),
        ("round_to", "0", 0, "expected auto or a whole number from 1 on, found 0"),
        ("resolutions", "big", "big", "expected auto, off or sizes such as"),
        ("precisions", "w6-w2", "w6-w2", "precision 'w6-w2' descends: write w2-w6"),
        ("agent", "unifrom", "unifrom", "no agent 'unifrom' (did you mean uniform?)"),
        ("budget", "50%,50%", "50%,50%", "50% is asked for twice"),
    ],
)
def test_a_wrong_value_is_said_alike_wherever_it_was_given(
    tmp_path: Path, name: str, flag: str, value: object, said: str
) -> None:
    word = f"--{name.replace('_', '-')}"
    written = f'"{value}"' if isinstance(value, str) else value
    with pytest.raises(OptionError) as flagged:
        as_flag(tmp_path, word, flag)
    (tmp_path / "automl.toml").write_text(f"# mine\n{name} = {written}\n")
    with pytest.raises(OptionError) as filed:
        as_flag(tmp_path)
    with pytest.raises(OptionError) as argued:
        as_argument(None, **GIVEN | {name: value})
    reasons = {error.value.reason for error in (flagged, filed, argued)}
    assert len(reasons) == 1
    assert said in reasons.pop()
    assert str(flagged.value).startswith(f"{word}: ")
    assert str(filed.value).startswith(f"automl.toml line 2: {name}: ")
    assert str(argued.value).startswith(f"{name}: ")


def test_an_unknown_argument_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no argument 'kelvn' \(did you mean kelvin\?\)"):
        as_argument(None, **GIVEN, kelvn=3)


def test_what_has_to_be_given_is_asked_for() -> None:
    with pytest.raises(OptionError, match=r"^target: has to be given: Device"):
        as_argument(None, budget="50%")


def test_options_of_a_class_come_before_those_of_its_bases() -> None:
    names = [each.name for each in options_of(Warmer)]
    assert names[:3] == ["kelvin", "target", "budget"]
    assert names.index("measure") < names.index("seed")
    assert [*values_of(make_options(Warmer, GIVEN))] == names


def test_an_error_travels_to_other_processes() -> None:
    error = OptionError("trials", "expected more", "--trials")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "--trials: expected more"
