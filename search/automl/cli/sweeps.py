"""`automl sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.flags import Json
from automl.cli.reports import reported, say_look
from automl.cli.terminal import complain, leave_stdout, say
from automl.errors import InfeasibleError, UsageError

if TYPE_CHECKING:
    from automl.sweep import SearchRow, SweepResult

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe in TOML.")]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="auto|ADDRESS|local",
        help="Ray cluster to search on; without it, one search after another here.",
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Let Ray Tune go on with its interrupted experiment.")
]
Out = Annotated[
    str | None,
    typer.Option("--out", metavar="FOLDER|ADDRESS", help="Results. [default: runs/NAME]"),
]


def sweep(
    recipe: RecipePath,
    ray: Ray = None,
    resume: Resume = False,
    out: Out = None,
    json: Json = False,
) -> None:
    """Do all searches of a recipe; those that are finished are not done again."""
    from dataclasses import replace

    from automl.sweep import read_recipe, run_sweep

    read = read_recipe(recipe)
    if out is not None:
        read = replace(read, out=out if "://" in out else str(Path(out).resolve()))
    leave_stdout()
    result = run_sweep(read, ray=ray, resume=resume, on_row=_tell)
    written = None if "://" in result.out else reported(Path(result.out))
    if json:
        from automl.sweep import result_to_json

        say(result_to_json(result), end="")
    else:
        _print(result)
        say_look(written)
    if result.interrupted:
        raise typer.Exit(130)
    if result.rows and all(row.score is None for row in result.rows):
        raise typer.Exit(_status_of(result))


def _status_of(result: SweepResult) -> int:
    """What a sweep without any policy ends with: 3 where no budget can be met, else 2."""
    states = {row.state for row in result.rows}
    return InfeasibleError.exit_status if states == {"INFEASIBLE"} else UsageError.exit_status


def _tell(row: SearchRow) -> None:
    """One line on stderr for each search that ends."""
    score = "" if row.score is None else f", score {row.score:.4f}"
    why = f": {row.reason}" if row.reason else ""
    complain(f"{row.case}: {row.state.lower()}{score}, {row.seconds:.1f} s{why}")


def _print(result: SweepResult) -> None:
    from automl.cli import render

    groups: dict[str, list[SearchRow]] = {}
    for row in result.rows:
        groups.setdefault(_subject(row, result), []).append(row)
    for subject, rows in groups.items():
        render.say(subject)
        plain = {(row.budget, row.agent, row.seed) for row in rows}
        told = len(plain) == len(rows)  # else the searches differ in something else as well
        header = ("budget", "agent", "seed") if told else ("search",)
        table = [[*(_asked(row) if told else [row.case]), *_found(row)] for row in rows]
        columns = (*header, "score", "predicted", "measured", "cost")
        render.print_table(columns, table, left=min(len(header), 2))
    for row in result.rows:
        if row.reason:
            render.say(f"{row.case}: {row.reason}")
    states = [row.state for row in result.rows]
    counted = [f"{states.count(state)} {state.lower()}" for state in dict.fromkeys(states)]
    spent = sum(row.seconds for row in result.rows)
    render.say(f"{len(states)} searches: {', '.join(counted)}; {spent:.0f} s")
    if result.skipped:
        render.say(f"{result.skipped} of them were finished before")
    render.say("* on the front of its target: no other search is better in score and latency")
    render.say(f"results: {result.out}/results.json")
    if result.rows and all(row.score is None for row in result.rows):
        render.say("none of them found a policy")
    if result.interrupted:
        render.say("interrupted: the same command goes on")


def _subject(row: SearchRow, result: SweepResult) -> str:
    """What a search is of: its target, and its model where the sweep has several."""
    target = Path(row.target).stem if row.target.endswith(".jsonl") else row.target
    several = len({(each.model, each.data) for each in result.rows}) > 1
    return f"{row.model} on {target}" if several else target


def _asked(row: SearchRow) -> list[str]:
    return [" and ".join(row.budget), row.agent, str(row.seed)]


def _found(row: SearchRow) -> list[str]:
    from automl.cli.render import latency_text
    from automl.units import format_seconds

    measured = row.measured_seconds
    score = "-" if row.score is None else f"{row.score:.4f}"
    return [
        f"{score}{'*' if row.on_front else ' '}",
        latency_text(row.predicted_seconds, row.predicted_cycles, row.at_least),
        "-" if measured is None else format_seconds(measured),
        f"{row.seconds:.1f} s",
    ]
