"""One search from a model to a policy whose latency was measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
from torch import nn

from automl import __version__
from automl.agents import AGENTS, make_agent
from automl.compression import QuantizedModel
from automl.cost import Budget, Cost
from automl.errors import StudyError
from automl.export import export_onnx, onnx_bytes
from automl.pipeline.counting import with_counts
from automl.pipeline.log import Log, start
from automl.pipeline.networks import input_shape
from automl.pipeline.precision import floats_of, scheme_of
from automl.pipeline.preparing import Aimed, Prepared, aim, prepare_scores
from automl.pipeline.pricing import Priced, measure_here
from automl.pipeline.requests import Event, Metrics, OnEvent, SearchRequest, SearchResult, ignore
from automl.pipeline.writing import examples, save_packed, save_weights
from automl.policy import Model, Policy, PolicyFile, PolicyTarget, Predicted, choices, write_policy
from automl.study import Ranking, StudyResult, Trial, delete_study, judge, run_study
from automl.units import format_seconds


class Refiner(Protocol):
    """Makes prices better between searches; see `automl.pipeline.measure_loop`."""

    def first(self, aimed: Aimed) -> Aimed:
        """Before the first search."""
        ...

    def after(self, aimed: Aimed, result: StudyResult) -> Aimed | None:
        """After a search: None where its answer stands, else what is searched again."""
        ...

    def notes(self, aimed: Aimed, policy: Policy) -> tuple[str, ...]:
        """What the user should know of it."""
        ...


def search(
    request: SearchRequest, on_event: OnEvent = ignore, refiner: Refiner | None = None
) -> SearchResult:
    """Find, finish, measure and write the best policy within the budget.

    Raises:
        AutomlError: What the user can mend, in one line each; `InfeasibleError` names the
            smallest cost where the budget cannot be met.
    """
    log = start(request, on_event)
    aimed = aim(request, log)
    aimed = aimed if refiner is None else refiner.first(aimed)
    if aimed.met:
        return deliver_dense(request, aimed, log)
    return search_prepared(request, aimed, prepare_scores(aimed, request, log), log, refiner)


def deliver_dense(request: SearchRequest, aimed: Aimed, log: Log) -> SearchResult:
    """Nothing to search for: the dense network is delivered, and it is said so."""
    dense = replace(aimed.priced.space.decode(aimed.priced.space.dense), bits={})
    return _deliver(request, aimed, dense, aimed.traced.model, StudyResult((), None, ()), log)


def search_prepared(
    request: SearchRequest,
    aimed: Aimed,
    prepared: Prepared,
    log: Log,
    refiner: Refiner | None = None,
) -> SearchResult:
    """Search, finish, measure and write, for one budget of a network that was prepared."""
    aimed, result = study_prepared(request, aimed, prepared, log, refiner)
    best = best_of(result)
    if refiner is not None:
        notes = (*refiner.notes(aimed, best.policy), *aimed.priced.notes)
        aimed = replace(aimed, priced=replace(aimed.priced, notes=notes))
    return deliver_best(request, aimed, prepared, result, best, log)


def study_prepared(
    request: SearchRequest,
    aimed: Aimed,
    prepared: Prepared,
    log: Log,
    refiner: Refiner | None = None,
) -> tuple[Aimed, StudyResult]:
    """The study alone, with the prices that it ended with."""
    aimed = replace(aimed, ranking=prepared.ranking)
    result = _study(request, aimed, prepared, log)
    while refiner is not None and (better := refiner.after(aimed, result)) is not None:
        aimed = better
        delete_study(*_stored(request))  # its prices are not those of now
        result = _study(request, aimed, prepared, log)
    return aimed, result


def deliver_best(
    request: SearchRequest,
    aimed: Aimed,
    prepared: Prepared,
    result: StudyResult,
    best: Trial,
    log: Log,
) -> SearchResult:
    """Finish, measure and write one policy that a study of this network scored."""
    compressor = prepared.compressor
    write_policy(_scored(request, aimed, best), request.out / "policy.json")  # safe from here on
    log(Event("finishing", 0, 1))
    compressor.forget(but=best.policy.resolution)
    model = compressor.make(best.policy)
    compressor.forget()  # exporting takes memory of its own
    return _deliver(request, aimed, best.policy, model, result, log)


def _study(request: SearchRequest, aimed: Aimed, prepared: Prepared, log: Log) -> StudyResult:
    options, (address, name) = _options(request), _stored(request)
    problem = replace(prepared.problem, costs=aimed.priced.costs, budget=aimed.budget)
    return run_study(
        problem,
        make_agent(request.agent, problem, request.seed, **options),
        prepared.evaluate,
        trials=request.trials,
        seconds=request.seconds,
        storage_url=address,
        name=name,
        agent_name=request.agent,
        seed=request.seed,
        resume=request.resume,
        on_trial=log.trial,
        full_scores=request.full_scores,
        score_name=_judged_by(request, prepared.ranking),
        options=", ".join(f"{key}={value}" for key, value in options.items()),
    )


def _judged_by(request: SearchRequest, judged: Ranking) -> str:
    name = judged.name or request.task.score_name
    return f"{name}, in full" if request.full_scores else name


def _options(request: SearchRequest) -> dict[str, bool]:
    """What the agent is told beside its seed."""
    return {"warm_start": request.warm_start} if AGENTS.takes(request.agent, "warm_start") else {}


def _stored(request: SearchRequest) -> tuple[str, str]:
    """Address and name of the study: the run folder's own, or named after it in the user's."""
    if request.storage is None:
        return f"sqlite:///{request.out / 'study.db'}", "search"
    return request.storage, request.out.as_posix()


def best_of(result: StudyResult) -> Trial:
    """The best trial of a study.

    Raises:
        StudyError: None was scored.
        KeyboardInterrupt: None was scored because the study was ended before.
    """
    if result.best is not None:
        return result.best
    if result.interrupted:
        raise KeyboardInterrupt  # before a first policy was scored there is nothing to write
    raise StudyError("no policy was scored: the agent proposed none within the budget")


def _deliver(
    request: SearchRequest,
    aimed: Aimed,
    policy: Policy,
    model: nn.Module,
    result: StudyResult,
    log: Log,
) -> SearchResult:
    """Judge the finished network once, measure it, write everything."""
    task, costs = request.task, aimed.priced.costs
    batches = task.data.test or task.data.validation
    scored_on = f"{batches.images:,} {'test' if task.data.test else 'validation'} inputs"
    before = judge(aimed.traced.model, task.score, batches)
    after = judge(model, task.score, batches, policy.resolution)
    file = policy_file(request, aimed, policy).with_score(after, scored_on)
    write_policy(file, request.out / "policy.json")
    _write_front(request, aimed, result)
    log(Event("exporting", 0, 1))
    _write_model(request, aimed, policy, model, half=file.target.floats == "fp16")
    log(Event("measuring the result", 0, 1))
    measured = _measure(request, aimed, model, policy)
    dense, compressed, counted = with_counts(
        metrics(aimed.priced, costs.dense, before, measured.get("dense")),
        metrics(aimed.priced, costs.cost(policy), after, measured.get("compressed")),
        aimed.traced,
        model,
        policy,
    )
    log(Event("done", 1, 1))
    return SearchResult(
        dense=dense,
        compressed=compressed,
        policy=file,
        policy_path=request.out / "policy.json",
        out=request.out,
        trials=len(result.trials),
        target=aimed.priced.description,
        scored_on=scored_on,
        interrupted=result.interrupted,
        notes=(
            *over_on_the_clock(aimed.budget, measured.get("compressed")),
            *counted,
            *_notes(request, aimed),
        ),
    )


def _write_model(
    request: SearchRequest, aimed: Aimed, policy: Policy, model: nn.Module, *, half: bool
) -> None:
    """The model's weights, those packed into their bits, and its ONNX file."""
    save_weights(model, request.out / "model.pt")
    if isinstance(model, QuantizedModel):
        save_packed(model, request.out / "model.weights")
    export_onnx(
        model,
        input_shape(aimed.traced, policy),
        request.out / "model.onnx",
        examples(request.task, policy),
        half=half,
    )


def _measure(
    request: SearchRequest, aimed: Aimed, model: nn.Module, policy: Policy
) -> dict[str, float]:
    if not aimed.priced.here:
        return {}
    traced = aimed.traced
    models = {
        "dense": onnx_bytes(traced.model, traced.network.input_shape),
        "compressed": onnx_bytes(model, input_shape(traced, policy)),
    }
    return measure_here(models, request.threads)


def metrics(priced: Priced, cost: Cost, accuracy: float | None, measured: float | None) -> Metrics:
    """What a model costs and is worth."""
    kept = predicted(priced, cost)
    return Metrics(
        accuracy,
        kept.latency_seconds,
        kept.latency_error,
        measured,
        cost.macs,
        cost.bytes,
        kept.joules,
        kept.latency_cycles,
    )


def predicted(priced: Priced, cost: Cost) -> Predicted:
    """A cost as a policy file keeps it."""
    timed = not np.isnan(cost.latency)
    simulated = priced.table.header.unit == "cycles"
    return Predicted(
        latency_seconds=cost.latency if timed and not simulated else None,
        latency_cycles=cost.latency if timed and simulated else None,
        latency_error=priced.error if timed else None,
        macs=cost.macs,
        bytes=cost.bytes,
        joules=None if np.isnan(cost.joules) else cost.joules,
        measured=cost.measured if timed else 0.0,
        interpolated=cost.interpolated if timed else 0.0,
        fitted=cost.fitted if timed else 0.0,
    )


def policy_file(request: SearchRequest, aimed: Aimed, policy: Policy) -> PolicyFile:
    """The policy with its origin, not yet scored."""
    priced, network = aimed.priced, aimed.traced.network
    return PolicyFile(
        automl=__version__,
        model=Model(
            name=request.task.model_name,
            fingerprint=network.fingerprint,
            input_shape=network.input_shape,
        ),
        target=PolicyTarget(
            name=request.target,
            description=priced.description,
            table_digest=priced.table.digest,
            scheme=scheme_of(priced.table.header),
            floats=floats_of(priced.table.header),
        ),
        budget=request.budget,
        predicted=predicted(priced, priced.costs.cost(policy)),
        dense=predicted(priced, priced.costs.dense),
        agent=request.agent,
        seed=request.seed,
        **choices(policy, network),
    )


def _write_front(request: SearchRequest, aimed: Aimed, result: StudyResult) -> None:
    folder = request.out / "front"
    folder.mkdir(exist_ok=True)
    for number, trial in enumerate(result.front):
        write_policy(_scored(request, aimed, trial), folder / f"{number:03d}.json")


def _scored(request: SearchRequest, aimed: Aimed, trial: Trial) -> PolicyFile:
    """A trial's policy with the score that the search gave it."""
    file = policy_file(request, aimed, trial.policy)
    images = trial.images or request.task.data.validation.images
    what = f"{aimed.ranking.name} of " if aimed.ranking and aimed.ranking.name else ""
    where = f"{what}{images:,} validation inputs, refitted on fewer images"
    return file if trial.score is None else file.with_score(trial.score, where)


def over_on_the_clock(budget: Budget, measured: float | None) -> tuple[str, ...]:
    """What to say when the prediction was within the budget and the clock is not."""
    limits = [limit.value for limit in budget.limits if limit.quantity == "latency"]
    if measured is None or not limits or measured <= limits[0]:
        return ()
    over = 100 * (measured / limits[0] - 1)
    return (
        f"measured, it is {over:.1f} % over the budget of {format_seconds(limits[0])}: "
        "the prediction was off by that; ask for so much less",
    )


def _notes(request: SearchRequest, aimed: Aimed) -> tuple[str, ...]:
    by_reason: dict[str, list[str]] = {}
    for part in aimed.traced.network.unprunable:
        by_reason.setdefault(part.reason, []).append(part.name)
    unprunable = [
        f"left alone: {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''} ({why})"
        for why, names in by_reason.items()
    ]
    already = ["the dense model meets this budget already"] if aimed.met else []
    ranked = [aimed.ranking.note] if aimed.ranking and aimed.ranking.note else []
    cold = not request.warm_start and not AGENTS.takes(request.agent, "warm_start")
    without = [f"{request.agent} has no warm start to do without"] if cold else []
    return (*already, *ranked, *without, *aimed.priced.notes, *unprunable)
