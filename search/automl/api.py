"""The same from Python: models, data and scores as objects in place of names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from torch import nn

from automl import pipeline
from automl.pipeline import (
    DEFAULT_CALIBRATION,
    DEFAULT_PRECISIONS,
    DEFAULT_TRIALS,
    ApplyRequest,
    ApplyResult,
    OnEvent,
    SearchRequest,
    SearchResult,
    Task,
    VerifyRequest,
    VerifyResult,
    ignore,
)
from automl.policy import PolicyFile, parse_precisions, read_policy
from automl.userdata import ACCURACY_NAME, check_forward, checked_score, load_score, make_data

#: Arguments of `search` that are fields of the request as they are.
_AS_GIVEN: Final = (
    *("target", "agent", "trials", "seconds", "seed", "resume", "round_to", "depth", "threads"),
    *("storage", "keep_first_last", "full_scores", "warm_start", "measure", "python"),
)


def make_task(
    model: nn.Module,
    data: Any,
    score: Callable[..., Any] | str | None = None,
    calibration: int = DEFAULT_CALIBRATION,
    *,
    data_name: str = "data",
) -> Task:
    """A model with its data and score, checked on two inputs.

    Args:
        model: Trained; it is put into evaluation mode and onto the CPU.
        data: (training, validation) or (training, validation, test), each an iterable of
            (input, target) batches.
        score: (model, batches) -> float, larger is better, or "logits"; None for top-1 accuracy.
        calibration: Most training inputs to keep.
        data_name: What to call the data.

    Raises:
        DataError: Data that is not as described, or that the model does not take.
    """
    read = make_data(data, calibration, data_name)
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


def search(
    model: nn.Module,
    data: Any,
    *,
    target: str,
    budget: str | Sequence[str],
    score: Callable[..., Any] | str | None = None,
    out: str | Path = "runs/search",
    agent: str = "lagrangian",
    trials: int | None = DEFAULT_TRIALS,
    seconds: float | None = None,
    seed: int = 0,
    resume: bool = False,
    storage: str | None = None,
    round_to: int | None = None,
    depth: bool = True,
    resolutions: Sequence[int] | None = None,
    precisions: str | Sequence[str] = DEFAULT_PRECISIONS,
    keep_first_last: bool = False,
    calibration: int = DEFAULT_CALIBRATION,
    threads: int = 1,
    full_scores: bool = False,
    warm_start: bool = True,
    measure: bool = False,
    ssh: Sequence[str] = (),
    python: str = "python3",
    on_event: OnEvent = ignore,
) -> SearchResult:
    """Search the most accurate compressed model that meets every budget on the target.

    Arguments are those of `make_task` and of `SearchRequest`.

    Raises:
        AutomlError: What is wrong, by name; `InfeasibleError` with the smallest budget that can be.
    """
    given = locals()
    request = SearchRequest(
        task=make_task(model, data, score, calibration),
        budget=(budget,) if isinstance(budget, str) else tuple(budget),
        out=Path(out),
        resolutions=None if resolutions is None else tuple(resolutions),
        precisions=_words(precisions),
        ssh=tuple(ssh),
        **{name: given[name] for name in _AS_GIVEN},
    )
    return pipeline.search(request, on_event)


def search_front(
    model: nn.Module,
    data: Any,
    *,
    target: str,
    budgets: Sequence[str | Sequence[str]],
    count: int = 0,
    score: Callable[..., Any] | str | None = None,
    out: str | Path = "runs/front",
    calibration: int = DEFAULT_CALIBRATION,
    on_event: OnEvent = ignore,
    **options: Any,
) -> tuple[SearchResult, ...]:
    """One search a budget on one preparation; each is given the best that fits, whoever found it.

    Args:
        model, data, score, calibration: As for `make_task`.
        target: Name of a target, or path of a table.
        budgets: A limit each, or several that hold together.
        count: With one budget: so many, in even steps from it to the dense cost.
        out: A folder for each budget is made in it.
        on_event: Told of progress.
        options: Other attributes of `SearchRequest`.

    Raises:
        AutomlError: What is wrong, by name.
    """
    limits = [(each,) if isinstance(each, str) else tuple(each) for each in budgets]
    task = make_task(model, data, score, calibration)
    request = SearchRequest(task, target, limits[0], Path(out), **options)
    return pipeline.search_front(request, limits, count, on_event)


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
    calibration: int = DEFAULT_CALIBRATION,
    seed: int | None = None,
    on_event: OnEvent = ignore,
) -> ApplyResult:
    """Make the smaller model of a policy. `policy` is a read policy file or its path.

    Without a `seed`, the policy's own is used, so that the search's model is made again.

    Raises:
        PolicyError: A policy that cannot be read, or for another model.
    """
    file = _read(policy)
    request = ApplyRequest(
        task=make_task(model, data, score, calibration),
        policy=file,
        out=Path(out),
        export=None if export is None else Path(export),
        packed=None if packed is None else Path(packed),
        huffman=huffman,
        epochs=epochs,
        seed=file.seed if seed is None else seed,
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


def _words(precisions: str | Sequence[str]) -> tuple[str, ...]:
    return parse_precisions(precisions if isinstance(precisions, str) else ",".join(precisions))


def _read(policy: PolicyFile | str | Path) -> PolicyFile:
    return policy if isinstance(policy, PolicyFile) else read_policy(Path(policy))
