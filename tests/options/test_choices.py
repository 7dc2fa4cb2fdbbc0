"""What a search may choose, in words."""

from __future__ import annotations

from typing import Any

import pytest

from automl.errors import OptionError, UsageError
from automl.options import Opened, SearchOptions, make_options
from automl.options.choices import check_choices, opened_by

RANK = ("rank-spatial", "rank-channel", "tucker")


def options(**values: Any) -> SearchOptions:
    return make_options(SearchOptions, {"target": "rpi4", "budget": ["50%"], **values})


def test_auto_is_all_but_forms_where_time_or_size_is_limited() -> None:
    assert options().opened == Opened()
    assert options(depth=False, kinds=["bits"]).opened == Opened(blocks=False, kinds=("bits",))
    for budget in (["50%", "50%MACs"], ["50%MACs", "1MB"], ["1MB"]):
        assert options(budget=budget).opened == Opened()


def test_auto_opens_forms_that_cost_less_where_work_alone_is_limited() -> None:
    found = options(budget=["50%MACs"]).opened
    assert (found.forms, found.paying) == ((*RANK, "taps", "separable"), True)
    assert all((found.channels, found.blocks, found.bits, found.resolution))
    assert not options(budget=["50%MACs"], choices="channels,blocks").opened.forms


def test_merges_are_open_where_they_are_named() -> None:
    found = options(choices="channels,merge").opened
    assert found == Opened(blocks=False, bits=False, resolution=False, kinds=("merge",))
    assert options(kinds=["merge"]).opened == Opened(kinds=("merge",))


def test_words_open_what_they_say_and_nothing_else() -> None:
    some = options(choices="channels,rank,taps").opened
    assert some == Opened(True, False, False, False, (*RANK, "taps"))
    both = options(choices="bits,taps").opened
    assert both == Opened(False, False, True, False, ("taps",))
    assert options(choices=["bits", "resolution"]).opened == Opened(False, False, True, True)
    assert opened_by(("rank-spatial", "rank"), (), True).forms == RANK
    assert check_choices("taps,taps, blocks") == ("taps", "blocks")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("channels,rnk", r"no choice 'rnk' \(did you mean rank"),
        ("auto,rank", "auto opens what is usual by itself: give it alone"),
        ("", "no choice ''"),
        (3, "expected auto or a list such as channels,rank, found 3"),
    ],
)
def test_words_that_open_nothing_are_refused(value: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_choices(value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"choices": "channels,blocks", "depth": False}, "depth says otherwise"),
        ({"choices": "channels", "resolutions": "24,32"}, "resolutions says otherwise"),
        ({"choices": "blocks", "round_to": 8}, "round_to says otherwise"),
        ({"choices": "channels,rank", "precisions": "int8"}, "precisions says otherwise"),
        ({"choices": "channels,bits", "precisions": "float"}, "layers compute in float"),
    ],
)
def test_options_that_contradict_the_choices_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        options(**values)


def test_alternatives_of_blocks_open_their_kind() -> None:
    one = opened_by(("channels", "fire"), (), True)
    assert (one.kinds, one.alternatives) == (("alternative",), ("fire",))
    every = opened_by(("channels", "fire", "alternative"), (), True)
    assert (every.kinds, every.alternatives) == (("alternative",), ())
    assert opened_by(("auto",), (), True, ("macs",)).kinds == ()
