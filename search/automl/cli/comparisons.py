"""`automl compare`: what differs between two policies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.flags import Json

if TYPE_CHECKING:
    from automl.policy import PolicyFile

One = Annotated[Path, typer.Argument(metavar="A.json", help="A policy JSON.")]
Other = Annotated[Path, typer.Argument(metavar="B.json", help="Another of the same model.")]


def compare(one: One, other: Other, json: Json = False) -> None:
    """Tell what differs between two policies, layer by layer."""
    from automl.cli import render
    from automl.policy import differences, read_policy

    first, second = read_policy(one), read_policy(other)
    found = differences(first, second)
    if json:
        render.print_json(
            {
                "differences": found,
                "predicted": [first.predicted, second.predicted],
                "score": [first.score, second.score],
            }
        )
        return
    render.say(f"A  {one}\nB  {other}")
    render.print_table(("", "A", "B"), _figures(first, second))
    if found:
        rows = [(each.part or "the network", each.kind, each.one, each.other) for each in found]
        render.print_table(("part", "choice", "A", "B"), rows, left=2)
    else:
        render.say("they choose the same")
    if first.scored_on != second.scored_on:
        render.say("note: their scores are not of the same inputs")
    if first.target.name != second.target.name:
        render.say("note: they are priced on different targets")
    render.say_next(f"automl show {one}")


def _figures(first: PolicyFile, second: PolicyFile) -> list[tuple[str, str, str]]:
    """What each is worth and is predicted to cost, as far as it is known of one of them."""
    from automl.cli.render import latency_text
    from automl.units import format_bytes, format_macs

    both = (first, second)

    def latency(file: PolicyFile) -> str:
        cost = file.predicted
        text = latency_text(cost.latency_seconds, cost.latency_cycles, cost.at_least)
        if text == "-":
            return text
        error = "" if cost.latency_error is None else f" ±{100 * cost.latency_error:.0f} %"
        word = "fitted" if cost.fitted > 0.5 else "predicted"
        return f"{text}{error} {'simulated' if cost.latency_cycles is not None else word}"

    def row(title: str, texts: list[str]) -> tuple[str, str, str]:
        return title, texts[0], texts[1]

    scores = ["-" if each.score is None else f"{each.score:.4g}" for each in both]
    return [
        row("score", scores),
        row("scored on", [each.scored_on or "-" for each in both]),
        row("target", [each.target.name for each in both]),
        row("budget", [" and ".join(each.budget) for each in both]),
        row("agent", [f"{each.agent}, seed {each.seed}" for each in both]),
        row("latency", [latency(each) for each in both]),
        row("work", [format_macs(each.predicted.macs) for each in both]),
        row("size", [format_bytes(each.predicted.bytes) for each in both]),
    ]
