"""What each kind of option takes and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from automl.agents import make_agent
from automl.errors import UsageError
from automl.options import kinds
from automl.options.kinds import Kind
from automl.testing.agents import made_problem


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (kinds.whole(0), 0, 0),
        (kinds.SWITCH, True, True),
        (kinds.text("NAME"), Path("a/b"), "a/b"),
        (kinds.texts("NAME"), "one", ("one",)),
        (kinds.texts("NAME"), ["one", "two"], ("one", "two")),
        (kinds.method("agents"), "uniform", "uniform"),
        (kinds.methods("agents"), "uniform", ("uniform",)),
        (kinds.methods("agents"), ["uniform", "random"], ("uniform", "random")),
        (kinds.PATH, "w.pt", Path("w.pt")),
        (kinds.DURATION, "90", 90.0),
        (kinds.DURATION, "90s", 90.0),
        (kinds.DURATION, "1.5min", 90.0),
        (kinds.DURATION, "2h", 7200.0),
        (kinds.DURATION, 90, 90.0),
        (kinds.GRANULARITY, "auto", None),
        (kinds.GRANULARITY, 8, 8),
        (kinds.RESOLUTIONS, "auto", None),
        (kinds.RESOLUTIONS, "off", ()),
        (kinds.RESOLUTIONS, "192,160", (160, 192)),
        (kinds.RESOLUTIONS, [192, 160, 160], (160, 192)),
        (kinds.PRECISIONS, "auto", ("auto",)),
        (kinds.PRECISIONS, ["INT8", "w4"], ("int8", "w4")),
        (kinds.BUDGET, "2ms,4ms", ("2ms,4ms",)),
        (kinds.INPUT_SHAPE, "3x224x192", (1, 3, 224, 192)),
    ],
)
def test_a_value_is_read_and_what_was_read_passes_again(
    kind: Kind, given: Any, value: object
) -> None:
    assert kind.check(given) == value
    if value is not None:
        assert kind.check(value) == value


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (kinds.whole(1), 0, "expected a whole number from 1 on, found 0"),
        (kinds.whole(1), True, "expected a whole number from 1 on, found True"),
        (kinds.whole(1), 1.5, "found 1.5"),
        (kinds.SWITCH, "yes", "expected true or false, found 'yes'"),
        (kinds.text("NAME"), "", r"expected text \(NAME\), found ''"),
        (kinds.texts("NAME"), [1], "expected text or a list of texts"),
        (kinds.method("agents"), "unifrom", r"no agent 'unifrom' \(did you mean uniform\?\)"),
        (kinds.method("agents"), 1, "expected a name, found 1"),
        (kinds.methods("agents"), ["random", "unifrom"], r"did you mean uniform\?"),
        (kinds.methods("agents"), 1, "expected text or a list of texts"),
        (kinds.PATH, 3, "expected a path, found 3"),
        (kinds.DURATION, "soon", "expected a time such as 90s, 10min or 2h, found 'soon'"),
        (kinds.DURATION, 0, "found 0"),
        (kinds.DURATION, float("nan"), "found nan"),
        (kinds.GRANULARITY, 0, "expected auto or a whole number from 1 on, found 0"),
        (kinds.RESOLUTIONS, "big", "expected auto, off or sizes such as 160,192,224, found 'big'"),
        (kinds.RESOLUTIONS, [0], r"found \[0\]"),
        (kinds.RESOLUTIONS, [[160]], r"found \[\[160\]\]"),
        (kinds.PRECISIONS, "fp8", "precision 'fp8' is not understood"),
        (kinds.PRECISIONS, 8, "expected auto, float or a list such as int8,fp16,w4a6, found 8"),
        (kinds.PRECISIONS, "w6-w2", "precision 'w6-w2' descends: write w2-w6"),
        (kinds.BUDGET, "2ms,50", "'50' has no unit"),
        (kinds.BUDGET, "1,5ms", "'1,5ms': a comma separates budgets; write 1.5ms"),
        (kinds.BUDGET, ["50%MACs", "0,5x"], "'0,5x': a comma separates budgets; write 0.5x"),
        (kinds.DURATION, "1,5h", "'1,5h': a number has a point; write 1.5h"),
        (kinds.BYTES, "0,8GB", "'0,8GB': a number has a point; write 0.8GB"),
        (kinds.BUDGET, [], "found none"),
        (kinds.BUDGET, 50, "expected a limit such as 10ms, 50% or 4MB, or a list of them"),
        (kinds.INPUT_SHAPE, "3xbig", "expected a shape such as 3x224x224, found '3xbig'"),
    ],
)
def test_what_is_no_such_value_is_refused(kind: Kind, given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        kind.check(given)


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (kinds.SEED, 2**64, f"expected a whole number from 0 to {2**64 - 1}, found {2**64}"),
        (kinds.SEED, -1, "found -1"),
        (kinds.SEED, 10**5000, "found a number of 16610 bits"),
        (kinds.SEED, kinds.SEED.read("9" * 5000), "found '999"),
        (kinds.SEED, float("nan"), "found nan"),
        (kinds.DURATION, 10**400, "expected a time such as 90s"),
        (kinds.DURATION, float("nan"), "expected a time such as 90s"),
        (kinds.DURATION, "9" * 400, "expected a time such as 90s"),
        (kinds.DURATION, -1.0, "expected a time such as 90s"),
        (kinds.BYTES, 10**400, "expected a size such as 2GB"),
        (kinds.BYTES, f"{'9' * 400}GB", "expected a size such as 2GB"),
        (kinds.BYTES, "-1GB", "expected a size such as 2GB"),
        (kinds.texts("HOST"), "", "expected text"),
        (kinds.texts("HOST"), ["me@board", " "], "expected text"),
        (kinds.PATH, " ", "expected a path"),
        (kinds.PATH, "a\0b", "expected a path"),
        (kinds.INPUT_SHAPE, "3x" + "9" * 5000, "expected a shape such as 3x224x224"),
        (kinds.INPUT_SHAPE, "3x²", "expected a shape such as 3x224x224"),
        (kinds.BUDGET, "1e999ms", "is more than a number can hold"),
        (kinds.BUDGET, "nanms", "is not a number with a unit"),
        (kinds.BUDGET, "-5ms", "is not a number with a unit"),
        (kinds.RESOLUTIONS, kinds.RESOLUTIONS.read("9" * 5000), "expected auto, off or sizes"),
    ],
    ids=lambda value: str(type(value)),  # pytest writes no long numbers out
)
def test_nonsense_is_refused_in_a_short_line(kind: Kind, given: Any, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        kind.check(given)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 200


def test_the_largest_seed_is_one_that_everything_takes() -> None:
    seed = kinds.SEED.check(kinds.SEED.read(str(2**64 - 1)))
    for name in ("random", "optuna-tpe", "amc"):
        assert make_agent(name, made_problem(6, seed=1), seed).ask(1)  # type: ignore[arg-type]
