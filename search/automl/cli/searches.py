"""`automl search`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from automl.cli.flags import Json, flags_of, takes_flags
from automl.cli.reports import reported, say_look
from automl.options import SearchOptions, TaskOptions

if TYPE_CHECKING:
    from automl.pipeline import SearchRequest, SearchResult
    from automl.userdata import Settings

Front = Annotated[
    int,
    typer.Option("--front", min=0, metavar="N", help="N budgets, from --budget up to dense."),
]


@takes_flags(*flags_of(TaskOptions, SearchOptions))
def search(*, front: Front = 0, json: Json = False, **flags: Any) -> None:
    """Find the best compressed model within a budget on a device."""
    from automl import pipeline
    from automl.cli import resolve

    settings = resolve.settle(flags, example=None)
    chosen = settings.make(SearchOptions)
    several = front > 0 or len(chosen.budgets) > 1
    if several:
        pipeline.check_front(chosen, chosen.budgets, front)
    settings, notes = _with_model(settings, chosen)
    task = resolve.load_task(settings)
    task = replace(task, notes=(*notes, *task.notes))
    request = pipeline.first_request(task, chosen)
    if several:
        _run_front(request, chosen.budgets, front, json)
    else:
        _run_one(request, resolve.flags_again(settings), json)


def _with_model(settings: Settings, chosen: SearchOptions) -> tuple[Settings, tuple[str, ...]]:
    """The settings, an example where they name no model; and what to say of which it is."""
    from automl import pipeline
    from automl.cli import resolve
    from automl.cli.progress import Bar

    if "model" in settings.values:
        return settings, ()
    with Bar() as bar:
        choice = pipeline.choose_example(chosen, bar)
    return resolve.with_example(settings, choice.example.name), choice.notes


def _run_front(
    request: SearchRequest, budgets: Sequence[tuple[str, ...]], front: int, json: bool
) -> None:
    from automl import pipeline
    from automl.cli import render
    from automl.cli.progress import Bar

    with Bar() as bar:
        results = pipeline.search_front(request, budgets, front, bar)
    written = reported(request.out)
    if json:
        render.print_json(results)
    else:
        render.say(f"target   {results[0].target}")
        render.say(f"model    {request.task.model_name}")
        render.say(f"score    {request.task.score_name}, on {results[0].scored_on}")
        render.say(f"agent    {request.agent}, seed {request.seed}")
        render.print_front(results)
        for note in request.task.notes:
            render.say(f"note: {note}")
        render.say_next(f"automl show {results[0].policy_path}")
        say_look(written)
    if results[-1].interrupted:
        raise typer.Exit(130)


def _run_one(request: SearchRequest, flags: list[str], json: bool) -> None:
    from automl import pipeline
    from automl.cli import render
    from automl.cli.progress import Bar

    with Bar() as bar:
        result = pipeline.search(request, bar)
    written = reported(result.out)
    if json:
        render.print_json(result)
    else:
        _print_result(request, result, flags)
        say_look(written)
    if result.interrupted:
        raise typer.Exit(130)


def _print_result(request: SearchRequest, result: SearchResult, flags: list[str]) -> None:
    from automl.cli import render
    from automl.cli.resolve import command

    data = request.task.data
    render.say(f"target   {result.target}")
    render.say(f"model    {request.task.model_name}")
    parts = [f"{data.calibration.images:,} calibration", f"{data.validation.images:,} validation"]
    if data.test is not None:
        parts.append(f"{data.test.images:,} test")
    render.say(f"data     {request.task.data_name}: {', '.join(parts)} inputs")
    render.say(f"score    {request.task.score_name}, on {result.scored_on}")
    render.say(f"budget   {' and '.join(request.budget)}")
    render.say(f"agent    {request.agent}, seed {request.seed}, {result.trials} trials")
    render.print_metrics(result.dense, result.compressed, request.task.score_name)
    render.print_stages(result.stages)
    for note in result.notes:
        render.say(f"note: {note}")
    render.say(f"policy: {result.policy_path}")
    if result.interrupted:
        render.say("interrupted: this is the best so far; --resume goes on")
    render.say_next(
        command(
            "automl", "apply", result.policy_path, *flags, "--export", result.out / "model.onnx"
        )
    )
