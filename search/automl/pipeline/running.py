"""One search of a context within one budget: an agent's study, and its best policy finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict

from automl.agents import AGENTS, make_agent
from automl.cost import Budget
from automl.errors import StorageError, StudyError
from automl.options import SearchOptions
from automl.pipeline.context import SearchContext
from automl.pipeline.log import Log
from automl.pipeline.ownership import stored_study
from automl.pipeline.points import Course
from automl.pipeline.proxies import proxied
from automl.pipeline.record import write_start
from automl.pipeline.requests import SearchRequest, SearchResult
from automl.pipeline.results import finish, write_best
from automl.pipeline.rivals import rivals_of
from automl.pipeline.runs import most_trials
from automl.study import (
    Completed,
    Failed,
    Known,
    Problem,
    ScoringPool,
    StudyResult,
    StudySettings,
    Trial,
    WorkerSettings,
    front_quantity,
    open_pool,
    reached_workers,
    run_study,
)
from automl.userdata import data_digest, weights_digest


def run_search(
    context: SearchContext, budget: Budget, request: SearchRequest, log: Log
) -> SearchResult:
    """Find, finish, measure and write the best policy within the budget.

    Args:
        context: What is searched.
        budget: In absolute terms.
        request: Who searches, for how long and into which folder.
        log: Of that folder.

    Raises:
        StudyError: No policy was scored, or the stored study cannot be gone on with.
        KeyboardInterrupt: The search was ended before a policy was scored.
    """
    with open_pool(context.evaluator, workers_of(request)) as pool:
        result = run_agent(context, budget, request, pool, log)
    best = best_of(result)
    return finish(context, request, result, best, log, rivals_of(context, result, best))


def run_agent(
    context: SearchContext,
    budget: Budget,
    request: SearchRequest,
    pool: ScoringPool,
    log: Log,
    known: Sequence[Known] = (),
) -> StudyResult:
    """The study alone, scored by a pool; its trials stay in the request's storage.

    The best policy so far is in the run folder, so that a search which is ended from outside leaves
    it.

    Args:
        context: What is searched.
        budget: In absolute terms.
        request: Who searches, for how long and into which folder.
        pool: Scores the candidates.
        log: Of the run folder.
        known: What was scored before for another budget.

    Raises:
        StorageError: The storage takes no more; says where the best policy so far is.
        StudyError: As `run_study`.
    """
    problem, options = context.problem(budget, known), agent_options(request)
    address, name = stored_study(request)
    score = context.ranking.name or request.task.score_name
    settings = StudySettings(
        trials=most_trials(request),
        seconds=request.seconds,
        storage_url=address,
        name=name,
        agent_name=request.agent,
        seed=request.seed,
        resume=request.resume,
        full_scores=request.full_scores,
        score_name=f"{score}, in full" if request.full_scores else score,
        options=_written(options),
        weights=weights_digest(request.task.model),
        data=data_digest(request.task.data),
        compression=_made_by(context, request),
    )
    agent = make_agent(request.agent, problem, request.seed, **options)
    scored: list[Completed] = []

    def finished(trial: Trial, best: Completed | None) -> None:
        if best is not None and best is trial:
            scored.append(best)
            if not log.knows(trial):
                write_best(context, request, best)
        log.trial(trial, best, problem.space.encode(trial.policy).tolist())

    write_start(context, problem, settings, request)
    log.expect(_course(context, problem, settings))
    try:
        return run_study(problem, agent, pool, settings, finished, log.asking)
    except StorageError as error:
        found = (
            f"the best so far scores {scored[-1].score:.4g}: {request.out / 'policy.json'}"
            if scored
            else "nothing was scored before"
        )
        raise StorageError(f"{error}; {found}", options=error.options) from error


def _course(context: SearchContext, problem: Problem, settings: StudySettings) -> Course:
    quantity = front_quantity(problem)
    limits = [each.value for each in problem.budget.limits if each.quantity == quantity]
    unit = context.network.table.header.unit
    return Course(settings.trials, settings.seconds, quantity, unit, min(limits, default=None))


def workers_of(options: SearchOptions) -> WorkerSettings:
    """Who scores the candidates."""
    return WorkerSettings(options.workers, options.ray, options.score_timeout)


def reached(request: SearchRequest) -> AbstractContextManager[None]:
    """Be where the request's workers can be started, before anything costly is done.

    Raises:
        UsageError, DataError, ClusterError: As `reached_workers`.
    """
    task = request.task
    return reached_workers(
        workers_of(request), **{f"score {task.score_name}": task.score, "model": task.model}
    )


def agent_options(request: SearchRequest) -> dict[str, bool]:
    """What the agent is told beside its seed."""
    return {"warm_start": request.warm_start} if AGENTS.takes(request.agent, "warm_start") else {}


def _made_by(context: SearchContext, request: SearchRequest) -> str:
    """By what candidates' weights are made."""
    config, proxy = asdict(context.compressor.config), proxied(request)
    return _written(config | {"proxy": proxy} if proxy else config)


def _written(options: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items())


def best_of(result: StudyResult) -> Completed:
    """The best trial of a study.

    Raises:
        StudyError: None was scored; says what came of those that were proposed.
        KeyboardInterrupt: None was scored because the study was ended before.
    """
    if result.best is not None:
        return result.best
    if result.interrupted:
        raise KeyboardInterrupt  # before a first policy was scored there is nothing to write
    failed = [trial for trial in result.trials if isinstance(trial, Failed)]
    count = len(result.trials)
    reason = "none was proposed, or the time was over before the first"
    if failed:
        reason = f"{len(failed)} of {count} trials failed; the first: {failed[0].reason}"
    elif count:
        reason = f"of {count} that the agent proposed none is within the budget"
    raise StudyError(f"no policy was scored: {reason}")
