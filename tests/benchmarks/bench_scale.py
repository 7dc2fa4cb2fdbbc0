"""What 1,000 workers would need: what is measured here of each part, and what that extrapolates to.

Bytes of what a worker is sent once, bytes and packets a trial on the wire (the loopback's counters,
less what passes when nothing is scored), trials a second that each storage takes, that each agent
proposes and is told of where a score takes no time (as of so many workers, in this process), that
two workers answer through Ray, and reports a second that Tune takes. With W workers and candidates
of t seconds there are W / t trials a second: below the printed seconds, a part is the limit.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_scale.py --json scale.json
    ... --sizes --model tests/benchmarks/cifar.py:resnet56 --data tests/benchmarks/cifar.py:loaders

Run it alone: other Ray programs use the loopback too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import ray
from bench_storage import storages, trials_a_second
from bench_workers import prepared
from ray import cloudpickle, tune
from ray.experimental import get_object_locations

from automl.agents import make_agent
from automl.pipeline import Preparation
from automl.policy import Policy
from automl.study import (
    LocalPool,
    Problem,
    ScoringPool,
    StudyResult,
    StudySettings,
    WorkerSettings,
    connected,
    open_pool,
    run_study,
)

LOOPBACK: Final = Path("/sys/class/net/lo/statistics")
WORKERS: Final = 1000
#: Workers as of which agents are asked: for 1,000, the learning ones take many minutes.
ASKED: Final = (8, 64)
#: When Tune's driver took a report.
TIMES: Final[list[float]] = []


def passed() -> tuple[int, int]:
    """Bytes and packets that the loopback has carried."""
    carried, packets = (int((LOOPBACK / f"rx_{what}").read_text()) for what in ("bytes", "packets"))
    return carried, packets


def rate(seconds: float) -> tuple[float, float]:
    """Bytes and packets a second while this process does nothing."""
    before, start = passed(), time.monotonic()
    time.sleep(seconds)
    after, spent = passed(), time.monotonic() - start
    return (after[0] - before[0]) / spent, (after[1] - before[1]) / spent


def study(
    problem: Problem, agent: str, pool: ScoringPool, trials: int, seconds: float | None = None
) -> tuple[StudyResult, float]:
    """A study in memory, and its wall seconds from the first ask on."""
    settings = StudySettings(trials=trials, seconds=seconds, full_scores=True)
    made, start = make_agent(agent, problem, 0), time.monotonic()
    return run_study(problem, made, pool, settings), time.monotonic() - start


def instant(policy: Policy) -> float:
    """A score that takes no time."""
    return float(hash(policy) % 1000)


def sent_once(preparation: Preparation) -> dict[str, Any]:
    """What goes into the object store for all workers, and how long that takes."""
    start = time.monotonic()
    reference = ray.put(preparation.evaluate)
    spent = time.monotonic() - start
    size = get_object_locations([reference])[reference]["object_size"]
    start = time.monotonic()
    ray.get(reference)
    problem = preparation.problem
    policy = problem.space.decode(problem.space.dense)
    return {
        "object_bytes": size,
        "put_seconds": round(spent, 3),
        "get_seconds": round(time.monotonic() - start, 3),
        "choices": len(problem.space.variables),
        "policy_bytes": len(cloudpickle.dumps(policy)),
        "problem_bytes": len(cloudpickle.dumps(problem)),
    }


def a_trial(preparation: Preparation, trials: int, idle: float) -> dict[str, Any]:
    """Bytes and packets that a trial takes with two workers."""
    with open_pool(preparation.evaluate, WorkerSettings(2, "auto")) as pool:
        study(preparation.problem, "random", pool, 8)  # until the workers are there
        quiet = rate(idle)
        before, start = passed(), time.monotonic()
        result, _ = study(preparation.problem, "random", pool, trials)
        spent, after = time.monotonic() - start, passed()
    carried = [a - b - q * spent for a, b, q in zip(after, before, quiet, strict=True)]
    return {
        "trials": len(result.trials),
        "bytes_a_trial": round(carried[0] / len(result.trials)),
        "packets_a_trial": round(carried[1] / len(result.trials), 1),
        "idle_bytes_a_second": round(quiet[0]),
    }


def stored(seconds: float) -> dict[str, float]:
    """Trials a second of each storage, one search writing."""
    with tempfile.TemporaryDirectory() as name, storages(Path(name)) as addresses:
        return {
            each: round(trials_a_second(address, 1, seconds), 1)
            for each, address in addresses.items()
        }


def proposed(problem: Problem, agents: list[str], workers: int, trials: int) -> dict[str, float]:
    """Trials a second of each agent, asked as for so many workers."""
    found = {}
    for agent in agents:
        result, spent = study(problem, agent, LocalPool(instant, workers), trials)
        found[agent] = round(len(result.trials) / spent, 1)
    return found


def answered(problem: Problem, seconds: float) -> float:
    """Trials a second that two workers answer whose scores take no time."""
    with open_pool(instant, WorkerSettings(2, "auto")) as pool:
        study(problem, "random", pool, 8)
        result, spent = study(problem, "random", pool, 100_000, seconds)
    return round(len(result.trials) / spent, 1)


class Clock(tune.Callback):
    """Notes when the driver takes a report."""

    def on_trial_result(self, *_: Any, **__: Any) -> None:
        TIMES.append(time.monotonic())


def report_often(config: dict[str, Any]) -> None:
    """Reports as a search does, without anything between."""
    for number in range(config["count"]):
        tune.report({"best_score": 0.5, "trials": number})


def reported(count: int, folder: str) -> float:
    """Reports a second that Tune's driver takes of four trials at once."""
    TIMES.clear()
    tune.Tuner(
        tune.with_resources(report_often, {"cpu": 0.5}),
        param_space={"count": count, "n": tune.grid_search([0, 1, 2, 3])},
        run_config=tune.RunConfig(storage_path=folder, name="t", verbose=0, callbacks=[Clock()]),
    ).fit()
    return round((len(TIMES) - 1) / (TIMES[-1] - TIMES[0]), 1)


def measure(options: argparse.Namespace, preparation: Preparation, folder: str) -> dict[str, Any]:
    """All figures, each printed when it is known."""
    problem, found = preparation.problem, {}

    def note(name: str, value: Any) -> None:
        found[name] = value
        print(f"{name}: {json.dumps(value)}", flush=True)

    note("sent_once", sent_once(preparation))
    note("a_trial", a_trial(preparation, options.trials, options.seconds))
    if options.sizes:
        return found
    note("answered_by_2_workers", answered(problem, options.seconds))
    for workers in ASKED:
        rates = proposed(problem, options.agents, workers, options.proposals)
        note(f"proposed_for_{workers}", rates)
    note("stored", stored(options.seconds))
    note("reported_to_tune", reported(options.reports, folder))
    return found


def extrapolated(found: dict[str, Any]) -> dict[str, float]:
    """By what is the limit: seconds a candidate must take for it to keep up with the workers."""
    rates = {f"storage, {name}": each for name, each in found["stored"].items()}
    pace = found[f"proposed_for_{ASKED[-1]}"]
    rates |= {f"agent, {name}, asked as of {ASKED[-1]}": each for name, each in pace.items()}
    rates["driver of one search"] = found["answered_by_2_workers"]
    rates["driver of a sweep (reports to Tune)"] = found["reported_to_tune"]
    return {name: round(WORKERS / each, 2) for name, each in rates.items()}


def main() -> None:
    """Print what is measured, then what it extrapolates to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="automl.example.model:pretrained")
    parser.add_argument("--data", default="automl.example.data:loaders")
    parser.add_argument("--target", default="rpi4-1t")
    parser.add_argument("--budget", default="50%")
    parser.add_argument("--calibration", type=int, default=300)
    parser.add_argument("--agents", nargs="+", default=["random", "optuna-tpe", "amc"])
    parser.add_argument("--sizes", action="store_true", help="Bytes alone.")
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--proposals", type=int, default=192)
    parser.add_argument("--seconds", type=float, default=5.0, help="Of each measurement.")
    parser.add_argument("--reports", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        preparation = prepared(options, Path(folder) / "run")
        with connected("local", 2):
            found = measure(options, preparation, folder)
    if not options.sizes:
        found["seconds_a_candidate"] = extrapolated(found)
        print_limits(found["seconds_a_candidate"])
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def print_limits(seconds: dict[str, float]) -> None:
    """The first limit first."""
    print(f"\nExtrapolated to {WORKERS} workers: seconds a candidate below which this is the limit")
    for name, each in sorted(seconds.items(), key=lambda row: -row[1]):
        print(f"{each:10.2f} s  {name}")


if __name__ == "__main__":
    main()
