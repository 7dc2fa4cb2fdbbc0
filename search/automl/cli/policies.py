"""`automl apply`, `automl verify` and `automl show`: what is done with a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from automl.cli.flags import Json, PolicyPath, flags_of, takes_flags
from automl.options import ApplyOptions, SearchOptions, TaskOptions, VerifyOptions, values_of

if TYPE_CHECKING:
    from automl.pipeline import ApplyRequest, ApplyResult

#: Names of what is compressed, as flags.
TASK: Final = ("model", "example", "weights", "data", "score")


@takes_flags(*flags_of(TaskOptions, only=TASK), *flags_of(ApplyOptions))
def apply(policy: PolicyPath, *, json: Json = False, **flags: Any) -> None:
    """Make the smaller model of a policy, and its ONNX."""
    from automl import pipeline
    from automl.cli import render, resolve
    from automl.cli.progress import Bar
    from automl.pipeline import ApplyRequest
    from automl.policy import read_policy

    file = read_policy(policy)
    example = resolve.example_for(file.model.name)
    settings = resolve.settle(flags, ApplyOptions, without=("out",), example=example)
    chosen = settings.make(ApplyOptions)
    making = pipeline.making_of(file, chosen.calibration, chosen.seed)
    given = values_of(chosen)
    given["out"] = chosen.out or policy.with_name("model.pt")
    given["beside"] = policy.parent
    request = ApplyRequest(task=resolve.load_task(settings, making), policy=file, **given)
    with Bar() as bar:
        result = pipeline.apply(request, bar)
    if json:
        render.print_json(result)
        return
    _print_applied(request, result)
    again = resolve.flags_again(settings)
    render.say_next(resolve.command("automl", "verify", policy, *again, "--target", "cpu"))


def _print_applied(request: ApplyRequest, result: ApplyResult) -> None:
    from automl.cli import render
    from automl.units import format_bytes

    render.say(f"model    {request.task.model_name}")
    render.say(f"score    {request.task.score_name}, on {result.scored_on}")
    render.print_metrics(result.dense, result.compressed, request.task.score_name)
    for note in result.notes:
        render.say(f"note: {note}")
    render.say(f"weights: {result.weights_path}")
    if result.packed_bytes is not None:
        size = format_bytes(result.packed_bytes)
        coded = ", entropy-coded" if request.huffman else ""
        render.say(f"packed weights: {result.packed_path} ({size}{coded})")
    if result.export_path is not None:
        what = "largest difference from PyTorch"
        if result.integers and result.export_path.suffix == ".onnx":
            what = "mean difference from what was simulated"
        kind = _EXPORTED[result.export_path.suffix]
        render.say(f"{kind}: {result.export_path} ({what} {result.export_error:.2g})")
        if result.export_path.suffix == ".py":
            render.say(f"its weights: {result.export_path.with_suffix('.pt')}")


#: What files are called by their ending.
_EXPORTED: Final = {
    ".onnx": "ONNX",
    ".py": "source",
    ".pte": "ExecuTorch",
    ".tflite": "LiteRT",
}


@takes_flags(
    *flags_of(TaskOptions, SearchOptions, only=("target", *TASK, "calibration", "threads")),
    *flags_of(SearchOptions, only=("ssh", "python", "answer_timeout")),
    *flags_of(VerifyOptions),
)
def verify(policy: PolicyPath, *, json: Json = False, **flags: Any) -> None:
    """Measure a policy's model beside the dense one, here or on a board."""
    from automl import pipeline
    from automl.cli import render, resolve
    from automl.cli.progress import Bar
    from automl.pipeline import VerifyRequest
    from automl.policy import read_policy

    file = read_policy(policy)
    settings = resolve.settle(flags, VerifyOptions, example=resolve.example_for(file.model.name))
    request = VerifyRequest(
        task=resolve.load_task(settings),
        policy=file,
        target=settings.values.get("target", file.target.name),
        threads=settings.get("threads"),
        ssh=settings.get("ssh"),
        python=settings.get("python"),
        answer_timeout=settings.get("answer_timeout"),
        write=policy if settings.make(VerifyOptions).write else None,
    )
    with Bar() as bar:
        result = pipeline.verify(request, bar)
    if json:
        render.print_json(result)
        return
    render.say(f"target   {result.target}")
    render.say(f"model    {request.task.model_name}")
    render.print_metrics(result.dense, result.compressed, request.task.score_name)
    render.print_prediction_error(result.compressed)
    for note in result.notes:
        render.say(f"note: {note}")
    if request.write is not None:
        render.say(f"written to {request.write}")
    again = resolve.flags_again(settings)
    render.say_next(resolve.command("automl", "apply", policy, *again, "--export", "model.onnx"))


def show(policy: PolicyPath, json: Json = False) -> None:
    """Draw what a policy keeps of each part."""
    from automl.cli import render, resolve
    from automl.policy import read_policy

    file = read_policy(policy)
    if json:
        render.print_json(file)
        return
    render.print_policy(file)
    flags = resolve.flags_for(file.model.name)
    render.say_next(resolve.command("automl", "apply", policy, *flags, "--export", "model.onnx"))
