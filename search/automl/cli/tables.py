"""`automl table`: merge, diff and check latency tables."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from automl.cli.flags import Json, flags_of, takes_flags
from automl.options import TaskOptions

if TYPE_CHECKING:
    from automl.latency import Comparison, Coverage
    from automl.pipeline import TableCheck, TableComparison

app = typer.Typer(
    help="Merge, compare and check latency tables.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


First = Annotated[str, typer.Argument(metavar="A", help="A table: a file or a target's name.")]
Second = Annotated[str, typer.Argument(metavar="B", help="Another.")]
Checkee = Annotated[str, typer.Argument(metavar="TABLE", help="A file or a target's name.")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="The new table.")]
Preferred = Annotated[
    Literal["first", "second"] | None,
    typer.Option("--prefer", help="Whose row to take where both have one."),
]
Worst = Annotated[int, typer.Option("--worst", min=0, help="Disagreements to list.")]

_SHOWN = 10


@app.command("merge")
def merge(
    first: First,
    second: Second,
    out: Out,
    prefer: Preferred = None,
    json: Json = False,
) -> None:
    """Put the rows of two tables of one device into one."""
    from automl.cli import render
    from automl.cli.resolve import command
    from automl.pipeline import merge_tables

    found = merge_tables(first, second, out, prefer)
    if json:
        render.print_json(found)
        return
    render.say(f"{found.path}: {found.rows:,} rows from {found.first:,} and {found.second:,}")
    render.say_next(command("automl", "table", "check", found.path))


@app.command("diff")
def diff(first: First, second: Second, worst: Worst = 10, json: Json = False) -> None:
    """Show where two tables disagree and by how much."""
    from automl.cli import render
    from automl.cli.resolve import command
    from automl.pipeline import diff_tables

    found = diff_tables(first, second, worst)
    if json:
        render.print_json(found)
        return
    _print_difference(found)
    render.say_next(command("automl", "table", "check", first))


def _print_difference(found: TableComparison) -> None:
    from automl.cli import render

    comparison = found.comparison
    render.say(f"A  {found.first}\nB  {found.second}")
    for name, one, other in comparison.conditions:
        render.say(f"{name}: A {one}, B {other}")
    if comparison.ordinary:
        render.say("neither has rows: their predictors are compared on ordinary operators")
    render.say(
        f"{comparison.shared:,} operators in both, {comparison.only_first:,} only in A,"
        f" {comparison.only_second:,} only in B"
    )
    if not comparison.shared:
        return
    render.say(
        f"B / A: median {comparison.median:.3f}, from {comparison.least:.3f}"
        f" to {comparison.most:.3f}"
    )
    render.say(f"{comparison.clear:,} differ by more than three times their uncertainties")
    rows = [
        (one.op, one.precision, f"{one.shared:,}", f"{one.median:.3f}") for one in comparison.by_op
    ]
    render.print_table(("operator", "precision", "shared", "median B/A"), rows, left=2)
    _print_worst(comparison, found.unit)


def _print_worst(comparison: Comparison, unit: str) -> None:
    from automl.cli import render
    from automl.latency import short

    if not comparison.worst:
        return
    scale, name = (1e3, "ms") if unit == "seconds" else (1.0, unit)
    rows = [
        (
            short(one.key),
            f"{one.first * scale:.4g}",
            f"{one.second * scale:.4g}",
            f"{one.ratio:.3f}",
            " and ".join(dict.fromkeys(one.sources)),
        )
        for one in comparison.worst
    ]
    render.say("worst:")
    render.print_table(("operator", f"A {name}", f"B {name}", "B/A", "source"), rows)


@app.command("check")
@takes_flags(*flags_of(TaskOptions, only=("model", "example", "weights", "data", "input_shape")))
def check(table: Checkee, *, json: Json = False, **flags: Any) -> None:
    """Look for wrong units, impossible values and more work at less time; cover a model."""
    from automl.cli import render, resolve
    from automl.pipeline import ProfileRequest, check_table

    request = None
    if flags["model"] is not None or flags["example"] is not None:
        settings = resolve.settle(flags)
        loaded, shape = resolve.load_model_alone(settings)
        request = ProfileRequest(target=table, model=loaded, input_shape=shape)
    found = check_table(table, request)
    if json:
        render.print_json(found)
    else:
        _print_check(found)
    if found.impossible:
        raise typer.Exit(2)


def _print_check(found: TableCheck) -> None:
    from automl.cli import render
    from automl.cli.resolve import command

    render.say(f"{found.path}: {found.name}, {found.rows:,} rows")
    titles = {
        "unreadable": "lines that cannot be read",
        "unit": "units",
        "impossible": "impossible values",
        "noise": "lost in the noise (so quick that it hardly counts, or disturbed)",
        "order": "more work at clearly less time (the device may do that, or was disturbed)",
        "boards": "boards that disagree by more than their spread, or were not compared",
    }
    for kind, title in titles.items():
        texts = [finding.text for finding in found.findings if finding.kind == kind]
        if not texts:
            continue
        render.say(f"{title}: {len(texts)}")
        for text in texts[:_SHOWN]:
            line = textwrap.fill(
                text, render.WIDTH - 2, subsequent_indent="  ", break_on_hyphens=False
            )
            render.say(textwrap.indent(line, "  "))
        if len(texts) > _SHOWN:
            render.say(f"  and {len(texts) - _SHOWN} more; --json lists all")
    if not found.findings:
        render.say("nothing is wrong with its rows")
    if found.coverage is not None:
        _print_coverage(found.coverage)
    if found.unpriced:
        render.say(f"without any price: {', '.join(found.unpriced)}")
    render.say_next(command("automl", "profile", "--target", found.name))


def _print_coverage(coverage: Coverage) -> None:
    from automl.cli import render

    render.say(
        f"of {coverage.asked:,} operators that a search can ask for {coverage.measured:,} are"
        f" measured,\n{coverage.interpolated:,} between rows, {coverage.fitted:,} fitted,"
        f" {coverage.missing:,} missing"
    )
    if coverage.missing_ops:
        named = ", ".join(f"{count:,} x {op}" for op, count in coverage.missing_ops)
        render.say(f"missing: {named}")
