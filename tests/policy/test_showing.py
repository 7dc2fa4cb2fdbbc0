"""Policies as HTML: long tables are cut, text is escaped, latencies say what they are."""

from __future__ import annotations

from automl.policy.policy import Policy
from automl.policy.showing import MOST_ROWS, html_notes, html_table, latency_text, policy_html
from policy_files import policy_file


def test_long_tables_are_cut_and_it_is_said() -> None:
    rows = [(f"layer {number}", "<b>") for number in range(MOST_ROWS + 5)]
    text = html_table("a & b", ("part", "chosen"), rows)
    assert text.count('<th scope="row">') == MOST_ROWS
    assert f"the first {MOST_ROWS} of {MOST_ROWS + 5}" in text
    assert "a &amp; b" in text
    assert "<b>" not in text
    assert html_notes(()) == ""
    assert html_notes(["<i>"]) == "<ul><li>&lt;i&gt;</li></ul>"


def test_a_policy_s_latency_says_what_it_is() -> None:
    cost = policy_file().predicted
    fitted = cost.model_copy(update={"measured": 0.0, "interpolated": 0.0, "fitted": 1.0})
    assert latency_text(fitted).endswith(", fitted")
    cycles = cost.model_copy(update={"latency_seconds": None, "latency_cycles": 5e6})
    assert latency_text(cycles) == "5.00 Mcycles, simulated"


def test_choices_are_named() -> None:
    text = policy_html(policy_file())
    assert "What it chooses" in text
    assert "channels" in text
    merges = Policy(further={"merge": {"stem": "merged", "mix": "dense"}})
    text = policy_html(policy_file(merges))
    assert "<td>merged</td>" in text
    assert "mix" not in text
