"""Two workers on two cores against one: trials a second, overhead a trial, and the driver's pace.

Each study starts without findings. How busy the workers are says what the batches cost, and seconds
a score what the machine loses where two score beside each other. The overhead is the time of a
study's trials, from the first answer on, that one worker does not spend on scoring. The pace of
instant scores is the driver's, in this process and in workers, without a storage; beside it, what
Optuna's sampler does by itself.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_workers.py --agents amc optuna-tpe --trials 48

ResNet-56, some six minutes on two idle cores:

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_workers.py --trials 24 \\
        --model tests/benchmarks/cifar.py:resnet56 --data tests/benchmarks/cifar.py:loaders
"""

from __future__ import annotations

import argparse
import tempfile
import time
from math import nan
from pathlib import Path

import optuna
from ray import cloudpickle

import automl
from automl.agents import make_agent
from automl.agents.optuna_samplers import OptunaAgent
from automl.pipeline import Preparation
from automl.study import (
    Problem,
    ScoringPool,
    StudyResult,
    StudySettings,
    WorkerSettings,
    connected,
    open_pool,
    run_study,
)
from automl.study.loop import batch_size
from automl.userdata import load_model
from automl.userdata.objects import load_object


def prepared(options: argparse.Namespace, out: Path) -> Preparation:
    """All that comes before a study."""
    return automl.prepare(
        load_model(options.model),
        load_object(options.data)(),
        target=options.target,
        budget=options.budget,
        calibration=options.calibration,
        out=out,
    )


def study(
    problem: Problem, agent: str, pool: ScoringPool, trials: int, full: bool
) -> tuple[StudyResult, float]:
    """A study, and its wall seconds from its first answer to its last."""
    times: list[float] = []
    settings = StudySettings(trials=trials, full_scores=full, storage_url=None)
    made = make_agent(agent, problem, 0)
    result = run_study(problem, made, pool, settings, lambda *_: times.append(time.monotonic()))
    return result, times[-1] - times[0]


def scoring(options: argparse.Namespace, preparation: Preparation, agent: str) -> None:
    """One line a number of workers."""
    alone, untouched = 0.0, cloudpickle.dumps(preparation.evaluate)  # without findings
    for workers in options.workers:
        evaluate = cloudpickle.loads(untouched)
        with open_pool(evaluate, WorkerSettings(workers, "auto")) as pool:
            result, seconds = study(
                preparation.problem, agent, pool, options.trials, options.full_scores
            )
        spent = sum(trial.seconds for trial in result.trials[1:])
        pace = (len(result.trials) - 1) / seconds
        alone = alone or pace / workers
        # Several score beside each other, so that their times do not add up to the study's.
        beyond = 1e3 * (seconds - spent) / (len(result.trials) - 1) if workers == 1 else nan
        best = "-" if result.best is None else f"{result.best.score:.4f}"
        print(
            f"{agent:12}{workers:8}{len(result.trials):8}{pace:10.3f}{pace / alone:8.2f}"
            f"{1e2 * spent / seconds / workers:8.0f}{spent / (len(result.trials) - 1):10.2f}"
            f"{beyond:12.1f}{best:>9}",
            flush=True,
        )


def instant(problem: Problem, agent: str, trials: int) -> None:
    """Trials a second where a score takes no time: what agent, loop and Ray take."""
    sampler = make_agent(agent, problem, 0)
    if isinstance(sampler, OptunaAgent):
        pace = sampler_alone(sampler, len(problem.space.variables), trials)
        print(f"{agent:12}{'sampler':>12}{pace:10.1f}", flush=True)
    for name, settings in (("here", WorkerSettings()), ("2 workers", WorkerSettings(2, "auto"))):
        with open_pool(lambda policy: float(hash(policy) % 1000), settings) as pool:
            result, seconds = study(problem, agent, pool, trials, True)
        print(f"{agent:12}{name:>12}{(len(result.trials) - 1) / seconds:10.1f}", flush=True)


def sampler_alone(agent: OptunaAgent, variables: int, trials: int) -> float:
    """Draws a second of Optuna's sampler by itself: as many variables, in the loop's batches."""
    memory = optuna.create_study(directions=agent.directions(), sampler=agent.sampler(0))
    start = time.monotonic()
    for first in range(0, trials, batch_size(1)):
        draws = [memory.ask() for _ in range(min(batch_size(1), trials - first))]
        drawn = [
            [draw.suggest_float(str(number), 0.0, 1.0) for number in range(variables)]
            for draw in draws
        ]
        for draw, values in zip(draws, drawn, strict=True):
            memory.tell(draw, [values[0]] * len(agent.directions()))
    return trials / (time.monotonic() - start)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="automl.example.model:pretrained")
    parser.add_argument("--data", default="automl.example.data:loaders")
    parser.add_argument("--target", default="rpi4-1t")
    parser.add_argument("--budget", default="50%")
    parser.add_argument("--calibration", type=int, default=300)
    parser.add_argument("--agents", nargs="+", default=["amc", "optuna-tpe"])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--full-scores", action="store_true")
    parser.add_argument("--instant", nargs="+", default=["random", "optuna-tpe"])
    parser.add_argument("--instant-trials", type=int, default=400)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        preparation = prepared(options, Path(folder))
    with connected("local", max(options.workers)):
        print(
            f"{'agent':12}{'workers':>8}{'trials':>8}{'trials/s':>10}{'times':>8}"
            f"{'busy %':>8}{'s a score':>10}{'overhead ms':>12}{'best':>9}"
        )
        for agent in options.agents:
            scoring(options, preparation, agent)
        print(f"\n{'agent':12}{'scored':>12}{'trials/s':>10}")
        for agent in options.instant:
            instant(preparation.problem, agent, options.instant_trials)


if __name__ == "__main__":
    main()
