import math

import pytest

from automl.errors import UsageError
from automl.units import (
    BudgetText,
    format_bytes,
    format_joules,
    format_macs,
    format_quantity,
    format_seconds,
    parse_budget,
    round_up,
)


@pytest.mark.parametrize(
    ("text", "quantity", "value", "relative"),
    [
        ("10ms", "latency", 0.010, False),
        ("1.5s", "latency", 1.5, False),
        ("800us", "latency", 800e-6, False),
        ("800 µs", "latency", 800e-6, False),
        ("50%", "latency", 0.5, True),
        ("0.5x", "latency", 0.5, True),
        (".5x", "latency", 0.5, True),
        ("60MMACs", "macs", 60e6, False),
        ("1.2GMACs", "macs", 1.2e9, False),
        ("1e6 MACs", "macs", 1e6, False),
        ("50%MACs", "macs", 0.5, True),
        ("50 % macs", "macs", 0.5, True),
        ("4MB", "bytes", 4e6, False),
        ("800kB", "bytes", 800e3, False),
        ("4MiB", "bytes", 4 * 2**20, False),
        ("50%size", "bytes", 0.5, True),
        ("5mJ", "joules", 0.005, False),
        ("5MJ", "joules", 5e6, False),
        ("2kJ", "joules", 2e3, False),
        ("0.5 J", "joules", 0.5, False),
        ("7uJ", "joules", 7e-6, False),
        ("7 µJ", "joules", 7e-6, False),
        ("7 \N{GREEK SMALL LETTER MU}J", "joules", 7e-6, False),
        ("800 \N{GREEK SMALL LETTER MU}s", "latency", 800e-6, False),
    ],
)
def test_budgets_are_read(text: str, quantity: str, value: float, relative: bool) -> None:
    read = parse_budget(text)
    assert (read.quantity, read.relative) == (quantity, relative)
    assert math.isclose(read.value, value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10", "no unit: write 10ms"),
        ("fast", "not a number with a unit"),
        ("", "not a number with a unit"),
        ("-5ms", "not a number with a unit"),
        ("0ms", "more than nothing"),
        ("5 parsecs", "unknown unit 'parsecs'"),
        ("5mj", "no unit of energy: write MJ, kJ, J, mJ, uJ"),
        ("5Mj", "no unit of energy: write MJ, kJ, J, mJ, uJ"),
        ("50%speed", "share of the unknown 'speed'"),
        ("1ms,2ms", "unknown unit"),
    ],
)
def test_what_is_no_budget_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        parse_budget(text)
    assert "\n" not in str(refused.value)


def test_figures_for_people() -> None:
    assert format_seconds(0.0032104) == "3.21 ms"
    assert format_seconds(12.3456) == "12346 ms"
    assert format_seconds(4.2e-6) == "0.0042 ms"
    assert format_bytes(4_021_000) == "4.02 MB"
    assert format_seconds(0.000755) == "0.755 ms"
    assert format_bytes(12) == "12.0 B"
    assert format_macs(125_486_000) == "125 MMACs"
    assert format_macs(0) == "0 MACs"
    assert format_joules(0.0051) == "5.10 mJ"
    assert format_quantity("macs", 1.24e9) == "1.24 GMACs"


def test_the_least_is_rounded_up_so_that_it_can_be_met() -> None:
    assert math.isclose(round_up(0.7541), 0.755)
    assert math.isclose(round_up(1234.0), 1240.0)
    assert math.isclose(round_up(3.2e-3), 3.2e-3)
    assert round_up(0.0) == 0.0
    assert math.isnan(round_up(math.nan))


def test_budget_text_is_a_value() -> None:
    assert parse_budget("50%") == BudgetText("latency", 0.5, True)


def test_simulators_count_cycles() -> None:
    assert parse_budget("5Mcycles") == BudgetText("latency", 5e6, False, "cycles")
    assert parse_budget("10ms").unit == "seconds"
    assert format_quantity("latency", 5.2e6, "cycles") == "5.20 Mcycles"
    assert format_quantity("bytes", 4e6, "cycles") == "4.00 MB"
