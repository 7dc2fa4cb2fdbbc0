"""Options that exclude each other are refused before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from automl.errors import OptionError
from automl.options.declare import make_options
from automl.options.search import SearchOptions


def options(**given: Any) -> SearchOptions:
    return SearchOptions(**{"target": "cpu", "budget": "50%"} | given)


def test_values_are_in_their_own_type() -> None:
    found = options(time="2min", resolutions=[192, 160], precisions="int8,w4", round_to="auto")
    assert (found.budget, found.time, found.resolutions) == (("50%",), 120.0, (160, 192))
    assert (found.precisions, found.round_to) == (("int8", "w4"), None)


def test_commas_ask_for_several_searches() -> None:
    assert options(budget=["2ms,4ms", "4MB"]).budgets == (("2ms", "4MB"), ("4ms", "4MB"))


def test_what_is_limited_is_read_from_all_budgets() -> None:
    assert options(budget=["2ms,4ms", "4MB"]).limited == {"latency", "bytes"}
    assert options(budget="50%MACs").limited == {"macs"}


def test_one_kind_stands_for_a_list_and_an_unknown_one_is_refused() -> None:
    assert options().kinds == ()
    assert options(kinds="bits").kinds == ("bits",)
    with pytest.raises(OptionError, match=r"^kinds: no kind of choice 'bit' \(did you mean bits"):
        options(kinds=["channels", "bit"])


@pytest.mark.parametrize(
    ("given", "option", "said"),
    [
        ({"budget": "50%,50%"}, "budget", "50% is asked for twice"),
        ({"keep_first_last": True, "precisions": "float"}, "keep_first_last", "none are chosen"),
        ({"ssh": "me@board"}, "ssh", "only where it measures"),
        ({"ssh": "me@board", "budget": "2ms,4ms"}, "ssh", "only where it measures"),
        ({"measure": True, "budget": "2ms,4ms"}, "measure", "one budget"),
        ({"measure": True, "budget": "4MB"}, "measure", "needs a budget of time"),
        ({"python": "/opt/python"}, "python", "there are none"),
    ],
)
def test_what_would_be_ignored_is_refused(given: Any, option: str, said: str) -> None:
    with pytest.raises(OptionError, match=said) as raised:
        options(**given)
    assert raised.value.option == option


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("importance", "ob", r"no importance 'ob' \(did you mean obs or obd\?\)"),
        (
            "reconstruction",
            "least-squares:rige=1",
            r"least-squares 'rige' \(did you mean ridge\?\)",
        ),
        ("quantization", "nearst:ranges=max", r"no quantizer 'nearst' \(did you mean nearest\?\)"),
        ("quantization", 8, "a name"),
    ],
)
def test_methods_of_compression_are_checked_with_their_options(
    option: str, value: object, reason: str
) -> None:
    given = {"target": "cpu", "budget": "50%"}
    with pytest.raises(OptionError, match=reason):
        make_options(SearchOptions, {**given, option: value})
    chosen = make_options(SearchOptions, {**given, "quantization": "nearest:ranges=max"})
    assert chosen.quantization == "nearest:ranges=max"


def test_a_score_has_a_limit_wherever_it_is_computed() -> None:
    assert (options().workers, options().ray, options().score_timeout) == (1, None, 1800.0)
    for given in ({}, {"workers": 2}, {"ray": "auto"}):
        assert options(score_timeout="5s", **given).score_timeout == 5.0
