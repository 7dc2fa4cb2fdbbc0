"""Policies as HTML for notebooks: text of files is escaped, and nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from automl.errors import printable
from automl.policy.policy import DENSE
from automl.units import format_bytes, format_cycles, format_macs, format_seconds

if TYPE_CHECKING:
    from automl.policy.file import PolicyFile, Predicted

#: Most rows of a table that a notebook shows.
MOST_ROWS: Final = 200
#: In place of what is not known.
UNKNOWN: Final = "\u2013"


def html_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose rows begin with their name.

    Args:
        caption, head, rows: Texts; all are escaped. Of more than `MOST_ROWS` rows the first are
            shown, and it is said.
    """
    rows = list(rows)
    shown = [
        f'<tr><th scope="row">{_text(row[0])}</th>'
        + "".join(f"<td>{_text(each)}</td>" for each in row[1:])
        + "</tr>"
        for row in rows[:MOST_ROWS]
    ]
    more = f" (the first {MOST_ROWS} of {len(rows):,})" if len(rows) > MOST_ROWS else ""
    heads = "".join(f'<th scope="col">{_text(each)}</th>' for each in head)
    return (
        f"<table><caption>{_text(caption + more)}</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(shown)}</tbody></table>"
    )


def html_notes(notes: Iterable[str]) -> str:
    """A list of texts; "" where there are none."""
    shown = "".join(f"<li>{_text(each)}</li>" for each in notes)
    return f"<ul>{shown}</ul>" if shown else ""


def policy_html(file: PolicyFile) -> str:
    """What a policy costs beside the dense network, and what it chooses."""
    costs = [("dense", file.dense, None), ("policy", file.predicted, file.score)]
    rows = [
        (
            name,
            UNKNOWN if score is None else f"{score:.4g}",
            latency_text(cost),
            format_bytes(cost.bytes),
            format_macs(cost.macs),
        )
        for name, cost, score in costs
    ]
    caption = f"{file.model.name} on {file.target.name}, {' and '.join(file.budget)}"
    head = ("", "score", "latency", "size", "work")
    chosen = list(_chosen(file))
    parts = html_table("What it chooses", ("part", "choice", "chosen"), chosen) if chosen else ""
    return f"<div>{html_table(caption, head, rows)}{parts}</div>"


def latency_text(cost: Predicted) -> str:
    """A predicted latency, with its known error and what it is where it is not measured."""
    if cost.latency_cycles is not None:
        return f"{format_cycles(cost.latency_cycles)}, simulated"
    if cost.latency_seconds is None:
        return UNKNOWN
    bound = "at least " if cost.at_least else ""
    error = "" if cost.latency_error is None else f" ± {100 * cost.latency_error:.0f} %"
    fitted = ", fitted" if cost.fitted > 0.5 else ""
    return f"{bound}{format_seconds(cost.latency_seconds)}{error}{fitted}"


def _chosen(file: PolicyFile) -> Iterable[tuple[str, str, str]]:
    for name, group in file.channels.items():
        if group.kept != group.dense:
            yield name, "channels", f"{group.kept} of {group.dense}"
    for name in file.removed:
        yield name, "block", "left out"
    for name, bits in file.bits.items():
        yield name, "bits", f"{bits.weights} of weights, {bits.activations} of inputs"
    if file.resolution:
        yield "the network", "resolution", str(file.resolution)
    for kind, options in file.further.items():
        for name, option in options.items():
            if option != DENSE:
                yield name, kind, option


def _text(text: str) -> str:
    return escape(printable(text))
