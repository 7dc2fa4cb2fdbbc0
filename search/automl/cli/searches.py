"""`automl search`."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli import options

if TYPE_CHECKING:
    from automl.pipeline import SearchRequest, SearchResult

AgentName = Annotated[
    str | None, typer.Option("--agent", metavar="NAME", help="Who searches: see automl agents.")
]
Budgets = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        metavar="LIMIT",
        help="10ms, 50%, 60MMACs, 50%MACs, 4MB, 50%size; repeatable; 2ms,4ms searches both.",
    ),
]
Front = Annotated[
    int,
    typer.Option("--front", min=0, metavar="N", help="N budgets, from --budget up to dense."),
]
Trials = Annotated[
    int | None, typer.Option("--trials", min=1, metavar="N", help="Most policies to score.")
]
Time = Annotated[str | None, typer.Option("--time", metavar="10min", help="Most time to search.")]
FullScores = Annotated[
    bool | None,
    typer.Option("--full-scores", help="Give up no candidate before it saw all inputs."),
]
WarmStart = Annotated[
    bool | None,
    typer.Option(
        "--warm-start/--no-warm-start",
        help="Whether an agent that learns starts from the additive optimum; default: it does.",
    ),
]
Out = Annotated[str | None, typer.Option("--out", metavar="FOLDER", help="Default: runs/NAME.")]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Optuna storage of the study, as sqlite:///FILE; default: study.db in --out.",
    ),
]
Measure = Annotated[
    bool,
    typer.Option("--measure", help="Measure what the best use, until the winner is measured."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]


def search(
    target: options.Target = None,
    budget: Budgets = None,
    model: options.Model = None,
    weights: options.Weights = None,
    data: options.Data = None,
    score: options.Score = None,
    input_shape: options.InputShape = None,
    agent: AgentName = None,
    warm_start: WarmStart = None,
    full_scores: FullScores = None,
    trials: Trials = None,
    time: Time = None,
    seed: options.Seed = None,
    out: Out = None,
    storage: Storage = None,
    resume: Resume = False,
    round_to: options.RoundTo = None,
    no_depth: options.NoDepth = False,
    resolutions: options.Resolutions = None,
    precisions: options.Precisions = None,
    keep_first_last: options.KeepFirstLast = None,
    calibration: options.Calibration = None,
    threads: options.Threads = None,
    front: Front = 0,
    measure: Measure = False,
    ssh: options.Ssh = None,
    python: options.Python = "python3",
    json: options.Json = False,
) -> None:
    """Find the best compressed model within a budget on a device."""
    given = locals()  # flags by name, which are the keys of automl.toml
    from automl.cli import resolve
    from automl.userdata import Settings, with_flags

    given["budget"] = budget or None
    given["depth"] = False if no_depth else None
    given["precisions"] = None if precisions is None else precisions.split(",")
    settings = resolve.settle(**{key: given[key] for key in Settings.model_fields})
    budgets = [*product(*(text.split(",") for text in settings.budget))]  # 2ms,4ms is two searches
    request = resolve.search_request(with_flags(settings, budget=[*budgets[0]]), resume)
    request = replace(request, measure=measure, ssh=tuple(ssh or ()), python=python)
    if front or len(budgets) > 1:
        _run_front(request, budgets, front, json)
    else:
        _run_one(request, resolve.flags_again(settings), json)


def _run_front(
    request: SearchRequest, budgets: list[tuple[str, ...]], front: int, json: bool
) -> None:
    from automl import pipeline
    from automl.cli import render
    from automl.cli.progress import Bar

    with Bar() as bar:
        results = pipeline.search_front(request, budgets, front, bar)
    if json:
        render.print_json(results)
    else:
        render.say(f"target   {results[0].target}")
        render.say(f"model    {request.task.model_name}")
        render.say(f"score    {request.task.score_name}, on {results[0].scored_on}")
        render.say(f"agent    {request.agent}, seed {request.seed}")
        render.print_front(results)
        render.say_next(f"automl show {results[0].policy_path}")
    if results[-1].interrupted:
        raise typer.Exit(130)


def _run_one(request: SearchRequest, flags: list[str], json: bool) -> None:
    from automl import pipeline
    from automl.cli import render
    from automl.cli.progress import Bar

    with Bar() as bar:
        result = pipeline.search(request, bar)
    if json:
        render.print_json(result)
    else:
        _print_result(request, result, flags)
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
