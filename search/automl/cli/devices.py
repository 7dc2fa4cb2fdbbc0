"""`automl targets` and `automl profile`: what can be searched for, and how it is measured."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from automl.cli.flags import Json, flags_of, takes_flags
from automl.options import ProfileOptions, TaskOptions

if TYPE_CHECKING:
    from automl.latency import Target
    from automl.pipeline import BoardShare, ProfileRequest, ProfileResult


def targets(json: Json = False) -> None:
    """List the devices that can be searched for."""
    from automl.cli import render
    from automl.latency import list_targets

    found = list_targets()
    if json:
        render.print_json(found)
        return
    header = ("target", "runtime", "precision", "rows", "error")
    render.print_table(header, [_target_row(target) for target in found], left=3)
    for target in found:
        if target.problem:
            render.say(f"note: {target.name} cannot be used: {target.problem}")
    render.say("target: its name, its other names, and its device where that is none of them.")
    render.say("rows: measured operators; 0 where all is fitted or nothing was measured yet.")
    render.say("error: mean of whole networks' predictions, where it is known.")
    render.say_next("automl search --target cpu --budget 50%")


#: Columns of names; longer ones are left out: this machine's table has its processor and runtime in
#: its name.
_WIDEST = 28


def _several(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]}"


def _target_row(target: Target) -> tuple[str, ...]:
    names = [target.name, *(name for name in target.aliases if len(name) <= _WIDEST)]
    device = [] if target.device in names else textwrap.wrap(f"({target.device})", _WIDEST)
    return (
        "\n".join((*names, *device)),
        target.runtime,
        _several(target.precisions),
        f"{target.rows:,}",
        "" if target.known_error is None else f"{100 * target.known_error.relative:.0f} %",
    )


@takes_flags(
    *flags_of(ProfileOptions),
    *flags_of(TaskOptions, only=("model", "example", "weights", "data", "input_shape")),
)
def profile(*, json: Json = False, **flags: Any) -> None:
    """Measure the operators that a search will ask for, here or on a board."""
    from automl.cli import resolve
    from automl.pipeline import profile_request

    settings = resolve.settle(flags, ProfileOptions)
    chosen = settings.make(ProfileOptions)
    alone = chosen.ops is not None or chosen.calibrate is not None
    model, input_shape = (None, ()) if alone else resolve.load_model_alone(settings)
    _run(profile_request(chosen, model, input_shape), resolve.flags_again(settings), json)


def _run(request: ProfileRequest, flags: list[str], json: bool) -> None:
    from automl import pipeline
    from automl.cli import render, resolve
    from automl.cli.progress import Bar
    from automl.profiling import find_runtime

    with Bar() as bar:
        result = pipeline.profile(request, bar)
    if json:
        render.print_json(result)
        return
    _print_profile(result)
    words = ["automl", "search", *flags, "--target", request.target, "--budget", "50%"]
    if not find_runtime(request.runtime).takes_onnx:
        words = ["automl", "profile", "--target", request.target, "--calibrate", "timings.csv"]
    render.say_next(resolve.command(*words))


def _print_profile(result: ProfileResult) -> None:
    from automl.cli import render
    from automl.units import format_seconds

    render.say(f"target   {result.target}")
    if result.asked or result.table_path.exists():
        render.say(f"table    {result.table_path}")
    if result.asked:
        render.say(
            f"asked for {result.asked:,} operators: {result.known:,} were known, "
            f"{result.measured:,} measured now, {len(result.refused):,} refused by the runtime"
        )
    if result.boards:
        _print_boards(result.boards)
    for name in result.refused:
        render.say(f"refused: {name}")
    for note in result.notes:
        render.say(f"note: {note}")
    if not result.networks:
        return
    rows = [
        (
            network.name,
            format_seconds(network.predicted_seconds),
            format_seconds(network.measured_seconds),
            f"{100 * (network.predicted_seconds / network.measured_seconds - 1):+.1f} %",
        )
        for network in result.networks
    ]
    render.print_table(("network", "predicted", "measured", "error"), rows)
    if result.error is not None:
        render.say(f"mean error of networks left out of the fit: {100 * result.error:.1f} %")


def _print_boards(boards: tuple[BoardShare, ...]) -> None:
    """Who of several measured how much, and how long it takes beside the first."""
    from automl.cli import render

    rows = [
        (
            each.board,
            f"{each.rows:,}",
            ""
            if (one := each.compared) is None
            else f"{one.ratio:.3f} ± {one.ratio * one.spread:.3f}",
            "" if one is None else f"{one.operators:,}",
        )
        for each in boards
    ]
    render.print_table(("board", "rows", f"time beside {boards[0].board}", "compared on"), rows)
