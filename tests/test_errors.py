"""Errors carry what they are about, survive pickling, and leave flags to the command."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import automl.errors
from automl.cli.main import app, flag_of
from automl.cost import Budget, Limit
from automl.errors import (
    AutomlError,
    InfeasibleError,
    OptionError,
    Raised,
    SpaceError,
    TargetError,
    UnknownNameError,
    UsageError,
    attempt,
    nearest,
)

PACKAGE = Path(automl.errors.__file__).parent
#: Flags of other tools, which are named as they are.
OTHERS = ("--exportProfile", "--exportLayerInfo", "--enable_op_profiling")


def library() -> Iterator[tuple[Path, ast.Module]]:
    """All modules but the command's."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "cli" not in path.relative_to(PACKAGE).parts:
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def test_no_text_outside_the_command_names_a_flag() -> None:
    found = []
    for path, tree in library():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
                for other in OTHERS:
                    text = text.replace(other, "")
                if re.search("--[a-z]", text):
                    found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {text.strip()}")
    assert not found


def named_options() -> set[str]:
    """Options that errors name, wherever one is raised."""
    return {
        element.value
        for _, tree in library()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "options"
        for element in getattr(node.value, "elts", ())
        if isinstance(element, ast.Constant)
    }


def flags() -> set[str]:
    def of(command: object) -> Iterator[str]:
        for parameter in getattr(command, "params", ()):
            yield from parameter.opts
        for inner in getattr(command, "commands", {}).values():
            yield from of(inner)

    return set(of(typer.main.get_command(app)))


def test_every_option_that_an_error_names_is_one_of_the_command() -> None:
    assert {"resume", "out", "agent"} <= named_options()
    assert {flag_of(option) for option in named_options()} <= flags()


BUDGET = Budget((Limit("latency", 0.010), Limit("bytes", 4e6)))


def test_what_cannot_be_met_carries_the_budget_and_the_least_as_values() -> None:
    error = InfeasibleError(BUDGET, {"latency": 0.0123456, "bytes": 5e6}, subject="mix")
    assert error.budget == BUDGET
    assert error.least == {"latency": 0.0123456, "bytes": 5e6}
    assert str(error) == (
        "no mix meets the budget of 10.0 ms and 4.00 MB: the least is 12.4 ms, 5.00 MB"
    )


def test_cycles_are_told_as_cycles() -> None:
    budget = Budget((Limit("latency", 5e6, "cycles"),))
    assert "the least is 6.00 Mcycles" in str(InfeasibleError(budget, {"latency": 6e6}))


@pytest.mark.parametrize(
    "error",
    [
        InfeasibleError(BUDGET, {"latency": 1.0, "bytes": 2.0}, advice="wait", options=("agent",)),
        UnknownNameError("agent", "unifrom", ("uniform",)),
        SpaceError("no", lacks=("bits",), agents=("uniform",), options=("agent",)),
        TargetError("no target 'gpu'", found="gpu", valid=("cpu",)),
        UsageError("no", options=("out",)),
        OptionError("trials", "no", "here", options=("time",)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_the_same_after_pickling(error: AutomlError) -> None:
    """As it goes through a worker's pipe."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_an_unknown_name_carries_what_would_do() -> None:
    error = UnknownNameError("agent", "unifrom", ("random", "uniform"))
    assert (error.found, error.valid) == ("unifrom", ("random", "uniform"))
    assert str(error) == "no agent 'unifrom' (did you mean uniform?)"


def test_every_leaf_is_of_the_family_and_ends_the_command_with_its_status() -> None:
    leaves = [each for each in vars(automl.errors).values() if isinstance(each, type)]
    family = [each for each in leaves if issubclass(each, AutomlError)]
    assert len(family) > 10
    assert {each for each in family if each.exit_status != 2} == {InfeasibleError}


def test_the_nearest_names_are_said_or_all_that_there_are() -> None:
    assert nearest("unifrom", ["uniform", "random"]) == " (did you mean uniform?)"
    assert nearest("xyz", ["uniform", "random"]) == " (there is: random, uniform)"
    assert nearest("xyz", []) == ""
    assert nearest("q", map(str, range(20))).endswith(", ...)")


def test_foreign_code_is_answered_or_told_with_its_line() -> None:
    assert attempt(lambda: 3) == 3
    raised = attempt(lambda: 1 // 0)
    assert isinstance(raised, Raised)
    assert str(raised).startswith("ZeroDivisionError: ")
    assert f"{Path(__file__).name}:" in str(raised)
