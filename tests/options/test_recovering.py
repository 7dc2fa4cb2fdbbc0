"""What a recovery is asked for with."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl.errors import UsageError
from automl.options.kinds import recovery_of, supernet_of
from automl.options.recovering import AskedRecovery, AskedSteps, AskedSupernet, parse_steps


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("0", AskedRecovery()),
        ("20", AskedRecovery(("kd",), 20)),
        (" kd+hints:20 ", AskedRecovery(("kd", "hints"), 20)),
        ("labels:1", AskedRecovery(("labels",), 1)),
        ("auto:30min", AskedRecovery(seconds=1800.0)),
        ("auto:90", AskedRecovery(seconds=90.0)),
        ("recipes/mine.toml", AskedRecovery(file=Path("recipes/mine.toml"))),
    ],
)
def test_what_is_written_is_read(text: str, asked: AskedRecovery) -> None:
    assert recovery_of(text) == asked


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kd+hint:20", r"no term 'hint' \(did you mean hints\?\)"),
        ("aut:30min", r"no term 'aut' \(did you mean auto\?\)"),
        ("kd+hints", r"write kd\+hints:20"),
        ("kd:0", "write kd:20"),
        ("kd:-3", "write kd:20"),
        ("kd+kd:3", "names a term twice"),
        ("", "no term ''"),
        ("-1", "no term '-1'"),
        ("auto", "write auto:30min"),
        ("auto:soon", "expected a time such as"),
        ("99999999", "more than anybody waits for"),
    ],
)
def test_what_is_wrong_is_answered_with_what_would_do(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        recovery_of(text)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("20steps", AskedSteps(("kd",), 20)),
        ("kd:1 step", AskedSteps(("kd",), 1)),
        ("kd+labels:300steps", AskedSteps(("kd", "labels"), 300)),
    ],
)
def test_steps_of_a_candidate_are_read(text: str, asked: AskedSteps) -> None:
    assert parse_steps(text) == asked


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kd:20", "for some steps: write kd:20steps, found 'kd:20'"),
        ("20", "write kd:20steps"),
        ("kd:0steps", "write kd:20steps"),
        ("auto:30min", "write kd:20steps"),
        ("kb:20steps", r"no term 'kb' \(did you mean kd"),
        ("kd+kd:20steps", "names a term twice"),
        ("", "write kd:20steps"),
    ],
)
def test_steps_that_are_none_are_answered_with_what_would_do(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_steps(text)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("30min", AskedSupernet(seconds=1800.0)),
        ("500steps", AskedSupernet(steps=500)),
        (" 1 step ", AskedSupernet(steps=1)),
    ],
)
def test_how_long_a_supernet_is_trained_is_read(text: str, asked: AskedSupernet) -> None:
    assert supernet_of(text) == asked


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("500", "write 30min or 500steps, found '500'"),
        ("0steps", "write 30min or 500steps"),
        ("steps", "write 30min or 500steps"),
        ("soon", "expected a time such as"),
    ],
)
def test_what_is_neither_steps_nor_a_time_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        supernet_of(text)
