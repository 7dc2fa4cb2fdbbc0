"""The same from Python: models, data and scores as objects in place of names."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Final, TypeVar

from torch import nn

from automl import pipeline
from automl.agents import AGENTS, default_trials, make_agent
from automl.errors import AutomlError, OptionError
from automl.latency import list_targets as list_targets
from automl.methods import Method, registry
from automl.options import (
    CALIBRATION,
    ApplyOptions,
    Option,
    Options,
    ProfileOptions,
    SearchOptions,
    make_options,
    make_values,
    options_of,
    values_of,
)
from automl.pipeline import (
    ApplyRequest,
    ApplyResult,
    OnEvent,
    Preparation,
    ProfileResult,
    SearchResult,
    Task,
    VerifyRequest,
    VerifyResult,
    check_front,
    check_single,
    ignore,
    make_request,
    making_of,
    profile_request,
    shown_in_notebooks,
    task_of,
)
from automl.policy import Policy, PolicyFile, read_policy
from automl.report import write_report as write_report
from automl.study import (
    Problem,
    StudyResult,
    StudySettings,
    Trial,
    WorkerSettings,
    open_pool,
    reached_workers,
    run_study,
)
from automl.userdata import load_data, load_ready, make_data, plain_model

F = TypeVar("F", bound=Callable[..., Any])


#: Options of `search` that are those of its study.
STUDY: Final = (
    *("agent", "warm_start", "full_scores", "trials", "time", "storage", "resume", "seed"),
    *("workers", "ray", "score_timeout"),
)


def takes_options(
    owner: type[Options], *, without: Collection[str] = (), only: Collection[str] = ()
) -> Callable[[F], F]:
    """Put the options of a class in place of `**options`, in the signature and the docstring."""
    named = only or [each.name for each in options_of(owner) if each.name not in without]
    chosen = [each for each in options_of(owner) if each.name in named]

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
    model: nn.Module | str,
    data: Any,
    score: Callable[..., Any] | str | None = None,
    calibration: int = CALIBRATION,
    *,
    seed: int = 0,
    data_name: str = "data",
    input_shape: Sequence[int] | None = None,
) -> Task:
    """A model with its data and score, checked on two inputs.

    Args:
        model: Trained; it is put into evaluation mode and onto the CPU. What torch.compile and
            DataParallel wrap is taken out; weights of other floats are copied as 32-bit ones. Or
            its name, as the command takes it.
        data: (training, validation) or (training, validation, test), each an iterable of
            (input, target) batches, of mappings, or of inputs alone; an input may be any nest of
            tensors that the model takes. A part may be two arrays, inputs and labels. Or its name,
            as the command takes it.
        score: (model, batches) -> float, larger is better, "logits", or "psnr" for pictures; None
            for top-1 accuracy, or logits where the data has no classes of the model's.
        calibration: Most training inputs to keep.
        seed: Under which a loader that shuffles yields the same inputs each time.
        data_name: What to call the data.
        input_shape: Channels, height and width of one input as the device will see it; None for
            the data's. A network that takes any size may be scored on smaller ones.

    Raises:
        DataError: Data that is not as described, or that the model does not take.
        OptionError: An input shape that differs from the data's in more than its size.
    """
    if isinstance(data, str):
        read, data_name = load_data(data, calibration, seed), data
    else:
        read = make_data(data, calibration, data_name, seed)
    ready = load_ready(model) if isinstance(model, str) else plain_model(model)
    shape = (1, *input_shape) if input_shape else None
    name = model if isinstance(model, str) else type(ready.model).__name__
    return task_of(ready, read, score, shape, model=name, data_name=data_name)


@takes_options(SearchOptions)
@shown_in_notebooks
def search(
    model: nn.Module | str,
    data: Any,
    *,
    score: Callable[..., Any] | str | None = None,
    input_shape: Sequence[int] | None = None,
    on_event: OnEvent = ignore,
    **options: Any,
) -> SearchResult:
    """Search the most accurate compressed model that meets every budget on the target.

    Args:
        model, data, score, input_shape: As for `make_task`.
        on_event: Told of progress.
        options: Below.

    Raises:
        OptionError: An option that cannot be taken; names the nearest.
        AutomlError: What is wrong, by name; `InfeasibleError` with the smallest budget that can be.
    """
    chosen = make_options(SearchOptions, options)
    check_single(chosen)
    task = make_task(
        model, data, score, chosen.calibration, seed=chosen.seed, input_shape=input_shape
    )
    result = pipeline.search(make_request(task, chosen), on_event)
    _report(result.out)
    return result


@takes_options(SearchOptions, without=("budget",))
@shown_in_notebooks
def search_front(
    model: nn.Module | str,
    data: Any,
    *,
    budgets: Sequence[str | Sequence[str]],
    count: int = 0,
    score: Callable[..., Any] | str | None = None,
    input_shape: Sequence[int] | None = None,
    on_event: OnEvent = ignore,
    **options: Any,
) -> tuple[SearchResult, ...]:
    """One search a budget on one preparation; each is given the best that fits, whoever found it.

    Args:
        model, data, score, input_shape: As for `make_task`.
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
    task = make_task(
        model, data, score, chosen.calibration, seed=chosen.seed, input_shape=input_shape
    )
    request = make_request(task, chosen)
    results = pipeline.search_front(request, limits, count, on_event)
    _report(request.out)
    return results


@takes_options(ApplyOptions)
@shown_in_notebooks
def apply(
    policy: PolicyFile | str | Path,
    model: nn.Module | str,
    data: Any,
    *,
    score: Callable[..., Any] | str | None = None,
    on_event: OnEvent = ignore,
    **options: Any,
) -> ApplyResult:
    """Make the smaller model of a policy.

    The search's very model is made again where the data is that of the search; where it is not, a
    note of the result says so.

    Args:
        policy: A read policy file, or its path.
        model, data, score: As for `make_task`.
        on_event: Told of progress.
        options: Below.

    Raises:
        OptionError: An option that cannot be taken.
        PolicyError: A policy that cannot be read, or for another model.
    """
    chosen, file = make_options(ApplyOptions, options), _read(policy)
    making = making_of(file, chosen.calibration, chosen.seed)
    beside = Path() if isinstance(policy, PolicyFile) else Path(policy).parent
    given = values_of(chosen)
    given |= {"out": chosen.out or beside / "model.pt", "beside": beside}
    task = make_task(model, data, score, making.calibration, seed=making.seed)
    return pipeline.apply(ApplyRequest(task=task, policy=file, **given), on_event)


@shown_in_notebooks
def verify(
    policy: PolicyFile | str | Path,
    model: nn.Module | str,
    data: Any,
    *,
    target: str = "cpu",
    threads: int = 1,
    ssh: str | None = None,
    python: str = "python3",
    on_event: OnEvent = ignore,
) -> VerifyResult:
    """Measure a policy's model beside the dense one.

    Args:
        policy: A read policy file, or its path.
        model, data: As for `make_task`.
        target: Where it is measured.
        threads: Of the runtime.
        ssh: The board to measure on, user@host; None for this machine.
        python: The board's Python that has the runtime.
        on_event: Told of progress.

    Raises:
        PolicyError: A policy that cannot be read, or for another model.
        MeasureError: A board that does not measure.
    """
    task = make_task(model, data)
    boards = () if ssh is None else (ssh,)
    request = VerifyRequest(task, _read(policy), target, threads, ssh=boards, python=python)
    return pipeline.verify(request, on_event)


@takes_options(ProfileOptions)
@shown_in_notebooks
def profile(
    model: nn.Module | None = None,
    input_shape: Sequence[int] = (),
    *,
    on_event: OnEvent = ignore,
    **options: Any,
) -> ProfileResult:
    """Measure the operators that a search over the model can ask for, where the table lacks them.

    Args:
        model: None where the options name the operators.
        input_shape: Of one input: channels, height, width.
        on_event: Told of progress.
        options: Below.

    Raises:
        OptionError: An option that cannot be taken.
        MeasureError: A device that cannot be measured.
    """
    chosen = make_options(ProfileOptions, options)
    shape = (1, *input_shape) if input_shape else ()
    if model is not None:
        model = plain_model(model).model
    return pipeline.profile(profile_request(chosen, model, shape), on_event)


@takes_options(SearchOptions)
@shown_in_notebooks
def prepare(
    model: nn.Module | str,
    data: Any,
    *,
    score: Callable[..., Any] | str | None = None,
    input_shape: Sequence[int] | None = None,
    on_event: OnEvent = ignore,
    **options: Any,
) -> Preparation:
    """All that comes before a search: what is chosen from, its prices, and what makes a policy.

    Takes what `search` takes, and raises what it raises.
    """
    chosen = make_options(SearchOptions, options)
    check_single(chosen)
    task = make_task(
        model, data, score, chosen.calibration, seed=chosen.seed, input_shape=input_shape
    )
    return pipeline.prepare(make_request(task, chosen), on_event)


@takes_options(SearchOptions, only=STUDY)
def search_problem(
    problem: Problem,
    evaluate: Callable[[Policy], float],
    *,
    on_trial: Callable[[Trial, Trial | None], None] | None = None,
    **options: Any,
) -> StudyResult:
    """Let an agent search a problem, with any score of a policy: larger is better.

    Args:
        problem: From `prepare`, or your own.
        evaluate: Called with policies within the budget alone, with none of them twice. What it
            raises makes a failed trial.
        on_trial: Called with each trial and the best so far.
        options: Below.

    Raises:
        OptionError: An option that cannot be taken.
        SpaceError: The agent cannot search this problem; names those that can.
        StudyError: The storage holds another study, or every trial fails.
    """
    given = make_values(SearchOptions, options, only=STUDY)
    agent, told = given["agent"], {}
    if AGENTS.takes(agent, "warm_start"):
        told["warm_start"] = given["warm_start"]
    unlimited = given["trials"] is None and given["time"] is None
    settings = StudySettings(
        trials=default_trials(agent) if unlimited else given["trials"],
        seconds=given["time"],
        storage_url=given["storage"],
        agent_name=agent,
        seed=given["seed"],
        resume=given["resume"],
        full_scores=given["full_scores"],
        options=", ".join(f"{key}={value}" for key, value in told.items()),
    )
    made = make_agent(agent, problem, given["seed"], **told)
    workers = WorkerSettings(given["workers"], given["ray"], given["score_timeout"])
    with reached_workers(workers, score=evaluate), open_pool(evaluate, workers) as pool:
        return run_study(problem, made, pool, settings, on_trial)


def list_methods(kind: str = "agents") -> tuple[Method, ...]:
    """All of a kind that is chosen by name: "agents", "importances", ...

    Raises:
        UnknownNameError: No such kind; names the nearest.
    """
    return registry(kind).describe()


def _report(folder: Path) -> None:
    """Write the page of a run that has ended; where it cannot be written, the run is whole."""
    with contextlib.suppress(AutomlError):
        write_report([folder])


def _read(policy: PolicyFile | str | Path) -> PolicyFile:
    return policy if isinstance(policy, PolicyFile) else read_policy(Path(policy))
