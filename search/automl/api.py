"""The same from Python: models, data and scores as objects in place of names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from automl import pipeline
from automl.errors import OptionError
from automl.options import CALIBRATION, Option, Options, SearchOptions, make_options, options_of
from automl.pipeline import (
    ApplyRequest,
    ApplyResult,
    OnEvent,
    SearchResult,
    Task,
    VerifyRequest,
    VerifyResult,
    check_front,
    check_single,
    ignore,
    make_request,
    making_of,
)
from automl.policy import PolicyFile, read_policy
from automl.userdata import ACCURACY_NAME, check_forward, checked_score, load_score, make_data

F = TypeVar("F", bound=Callable[..., Any])


def takes_options(owner: type[Options], *, without: Sequence[str] = ()) -> Callable[[F], F]:
    """Put the options of a class in place of `**options`, in the signature and the docstring."""
    chosen = [each for each in options_of(owner) if each.name not in without]

    def give(function: F) -> F:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        made = [_parameter(each) for each in chosen]
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *made]
        )
        lines = "\n".join(f"    {each.name}: {each.described()}" for each in chosen)
        function.__doc__ = f"{inspect.getdoc(function)}\n\nOptions:\n{lines}\n"
        return function

    return give


def _parameter(option: Option) -> inspect.Parameter:
    default = inspect.Parameter.empty if option.default is MISSING else option.default
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(option.name, kind, default=default, annotation=option.annotation)


def make_task(
    model: nn.Module,
    data: Any,
    score: Callable[..., Any] | str | None = None,
    calibration: int = CALIBRATION,
    *,
    seed: int = 0,
    data_name: str = "data",
) -> Task:
    """A model with its data and score, checked on two inputs.

    Args:
        model: Trained; it is put into evaluation mode and onto the CPU.
        data: (training, validation) or (training, validation, test), each an iterable of
            (input, target) batches.
        score: (model, batches) -> float, larger is better, or "logits"; None for top-1 accuracy.
        calibration: Most training inputs to keep.
        seed: Under which a loader that shuffles yields the same inputs each time.
        data_name: What to call the data.

    Raises:
        DataError: Data that is not as described, or that the model does not take.
    """
    read = make_data(data, calibration, data_name, seed)
    model = model.to("cpu").eval()
    check_forward(model, read)
    if callable(score):
        name = getattr(score, "__name__", type(score).__name__)
        judged = checked_score(score, name)
    else:
        name, judged = score or ACCURACY_NAME, load_score(score, model)
    return Task(
        model=model,
        data=read,
        score=judged,
        input_shape=read.input_shape,
        model_name=type(model).__name__,
        data_name=data_name,
        score_name=name,
    )


@takes_options(SearchOptions)
def search(
    model: nn.Module,
    data: Any,
    *,
    score: Callable[..., Any] | str | None = None,
    on_event: OnEvent = ignore,
    **options: Any,
) -> SearchResult:
    """Search the most accurate compressed model that meets every budget on the target.

    Args:
        model, data, score: As for `make_task`.
        on_event: Told of progress.
        options: Below.

    Raises:
        OptionError: An option that cannot be taken; names the nearest.
        AutomlError: What is wrong, by name; `InfeasibleError` with the smallest budget that can be.
    """
    chosen = make_options(SearchOptions, options)
    check_single(chosen)
    task = make_task(model, data, score, chosen.calibration, seed=chosen.seed)
    return pipeline.search(make_request(task, chosen), on_event)


@takes_options(SearchOptions, without=("budget",))
def search_front(
    model: nn.Module,
    data: Any,
    *,
    budgets: Sequence[str | Sequence[str]],
    count: int = 0,
    score: Callable[..., Any] | str | None = None,
    on_event: OnEvent = ignore,
    **options: Any,
) -> tuple[SearchResult, ...]:
    """One search a budget on one preparation; each is given the best that fits, whoever found it.

    Args:
        model, data, score: As for `make_task`.
        budgets: A limit each, or several that hold together.
        count: With one budget: so many, in even steps from it to the dense cost.
        on_event: Told of progress.
        options: Below. A folder for each budget is made in the run folder.

    Raises:
        OptionError: An option that cannot be taken; names the nearest.
        AutomlError: What is wrong, by name.
    """
    limits = [(each,) if isinstance(each, str) else tuple(each) for each in budgets]
    if not limits:
        raise OptionError("budgets", "at least one is needed")
    searches = [make_options(SearchOptions, {**options, "budget": each}) for each in limits]
    for each in searches:
        check_single(each)
    chosen = searches[0]
    check_front(chosen, limits, count)
    task = make_task(model, data, score, chosen.calibration, seed=chosen.seed)
    return pipeline.search_front(make_request(task, chosen), limits, count, on_event)


def apply(
    policy: PolicyFile | str | Path,
    model: nn.Module,
    data: Any,
    *,
    out: str | Path = "model.pt",
    export: str | Path | None = None,
    packed: str | Path | None = None,
    huffman: bool = False,
    epochs: int = 0,
    score: Callable[..., Any] | str | None = None,
    calibration: int | None = None,
    seed: int | None = None,
    on_event: OnEvent = ignore,
) -> ApplyResult:
    """Make the smaller model of a policy. `policy` is a read policy file or its path.

    The search's very model is made again where the data is that of the search; where it is not, a
    note of the result says so. `calibration` counts for policies alone that do not say with how
    many inputs they were made (schema 1), `seed` for those and for fine-tuning.

    Raises:
        PolicyError: A policy that cannot be read, or for another model.
    """
    file = _read(policy)
    making = making_of(file, calibration, seed)
    request = ApplyRequest(
        task=make_task(model, data, score, making.calibration, seed=making.seed),
        policy=file,
        out=Path(out),
        export=None if export is None else Path(export),
        packed=None if packed is None else Path(packed),
        huffman=huffman,
        epochs=epochs,
        calibration=calibration,
        seed=seed,
    )
    return pipeline.apply(request, on_event)


def verify(
    policy: PolicyFile | str | Path,
    model: nn.Module,
    data: Any,
    *,
    target: str = "cpu",
    threads: int = 1,
    on_event: OnEvent = ignore,
) -> VerifyResult:
    """Measure a policy's model beside the dense one. `policy` is a read policy file or its path.

    Raises:
        PolicyError: A policy that cannot be read, or for another model.
        MeasureError: A target that cannot be measured from here.
    """
    task = make_task(model, data)
    return pipeline.verify(VerifyRequest(task, _read(policy), target, threads), on_event)


def _read(policy: PolicyFile | str | Path) -> PolicyFile:
    return policy if isinstance(policy, PolicyFile) else read_policy(Path(policy))
