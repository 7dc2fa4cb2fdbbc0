"""`automl targets` and `automl profile`: what can be searched for, and how it is measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli import options

if TYPE_CHECKING:
    from automl.latency.targets import Target
    from automl.requests import ProfileRequest
    from automl.settings import Settings

Ops = Annotated[
    Path | None, typer.Option("--ops", metavar="FILE", help="Operators to measure, not a model's.")
]


def targets(json: options.Json = False) -> None:
    """List the devices that can be searched for."""
    from automl.cli import render
    from automl.latency.targets import list_targets

    found = list_targets()
    if json:
        render.print_json(found)
        return
    header = ("target", "device", "runtime", "precision", "rows", "error")
    render.print_table(header, [_target_row(target) for target in found], left=4)
    for target in found:
        if target.problem:
            render.say(f"note: {target.name} cannot be used: {target.problem}")
    render.say("rows: measured operators; 0 where all is fitted or nothing was measured yet.")
    render.say("error: mean of whole networks' predictions, where it is known.")
    render.say_next("automl search --target cpu --budget 50%")


def _target_row(target: Target) -> tuple[str, ...]:
    return (
        "\n".join((target.name, *target.aliases)),
        target.device,
        target.runtime,
        ", ".join(target.precisions),
        f"{target.rows:,}",
        "" if target.known_error is None else f"{100 * target.known_error.relative:.0f} %",
    )


def profile(
    target: options.Target = None,
    model: options.Model = None,
    weights: options.Weights = None,
    data: options.Data = None,
    input_shape: options.InputShape = None,
    ops: Ops = None,
    round_to: options.RoundTo = None,
    no_depth: options.NoDepth = False,
    resolutions: options.Resolutions = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Measure the operators that a search will ask for."""
    from automl import pipeline
    from automl.cli import render, resolve
    from automl.cli.progress import Bar

    settings = resolve.settle(
        target=target,
        model=model,
        weights=weights,
        data=data,
        input_shape=input_shape,
        round_to=round_to,
        depth=False if no_depth else None,
        resolutions=resolutions,
        threads=threads,
    )
    request = _profile_request(settings, ops)
    with Bar() as bar:
        result = pipeline.profile(request, bar)
    if json:
        render.print_json(result)
        return
    render.say(f"target   {result.target}")
    render.say(f"table    {result.table_path}")
    render.say(
        f"asked for {result.asked:,} operators: {result.known:,} were known, "
        f"{result.measured:,} measured now, {len(result.refused):,} refused by the runtime"
    )
    for name in result.refused:
        render.say(f"refused: {name}")
    for note in result.notes:
        render.say(f"note: {note}")
    flags = resolve.flags_again(settings)
    words = ("automl", "search", *flags, "--target", request.target, "--budget", "50%")
    render.say_next(resolve.command(*words))


def _profile_request(settings: Settings, ops: Path | None) -> ProfileRequest:
    from automl.cli.resolve import load_model_alone
    from automl.requests import ProfileRequest

    round_to = options.parse_round_to(settings.round_to or "auto")
    resolutions = options.parse_resolutions(settings.resolutions or "auto")
    model, input_shape = (None, ()) if ops is not None else load_model_alone(settings)
    return ProfileRequest(
        target=settings.target or "cpu",
        model=model,
        input_shape=input_shape,
        ops=ops,
        round_to=round_to,
        depth=settings.depth is not False,
        resolutions=resolutions,
        threads=settings.threads or 1,
    )
