"""Workers that are actors of a Ray cluster. Only this module and `cluster` know Ray."""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray import cloudpickle
from ray.exceptions import (
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    RayError,
)

from automl.errors import AutomlError, ClusterError, DataError, Raised, attempt
from automl.policy import Policy
from automl.study.origin import Origin, check_modules, check_versions, load_files, origin_here
from automl.study.workers import (
    Answer,
    Evaluate,
    Remembers,
    ScoringPool,
    Unscored,
    score_policy,
)

_LOG = logging.getLogger(__name__)
#: So often a candidate is scored again whose worker died; then it has failed.
ATTEMPTS: Final = 3
#: How long a pool without any worker waits for one to start.
START_SECONDS: Final = 300.0

Findings = Mapping[Policy, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a worker will not work for this driver."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker that has the model, the data and the database; its process and machine."""

    pid: int
    node: str


class ScoringWorker:
    """The actor: scores one policy at a time, and remembers what it found."""

    def __init__(self) -> None:
        self._evaluate: Evaluate | None = None

    def prepare(self, driver: Origin, evaluate: list[Any], threads: int) -> Ready | Refusal:
        """Take what scores, if this machine has what the driver has.

        Args:
            driver: What the driver has.
            evaluate: A reference to what scores, in a list so that Ray does not fetch it before
                versions were compared.
            threads: Of PyTorch.
        """
        torch.set_num_threads(threads)
        try:
            check_versions(driver)
            wrong = load_files(driver)
            received: Any = attempt(lambda: ray.get(evaluate[0]))
            if isinstance(received, Raised):
                lacks = "; ".join(map(str, wrong)) or str(received)
                return Refusal(f"a worker cannot receive the model, data and score: {lacks}")
            check_modules(driver)
        except AutomlError as error:
            return Refusal(str(error))
        self._evaluate = received
        return Ready(os.getpid(), ray.get_runtime_context().get_node_id())

    def score(
        self, policy: Policy, incumbent: Policy | None, known: Findings
    ) -> tuple[Answer, Findings]:
        """What comes of a policy, and what was found of it and of the incumbent on the way."""
        evaluate = self._evaluate
        assert evaluate is not None  # the pool waits for `prepare`
        _take(evaluate, known)
        answer = score_policy(evaluate, policy, incumbent)
        return answer, _known(evaluate, policy, incumbent)


def _known(evaluate: Evaluate, *policies: Policy | None) -> dict[Policy, NDArray[np.float64]]:
    if not isinstance(evaluate, Remembers):
        return {}
    found = {policy: evaluate.recall(policy) for policy in policies if policy is not None}
    return {policy: values for policy, values in found.items() if len(values)}


def _take(evaluate: Evaluate, known: Findings) -> None:
    if isinstance(evaluate, Remembers):
        for policy, found in known.items():
            evaluate.remember(policy, found)


@dataclass(slots=True)
class _Job:
    """A policy that is to be scored; `deaths` of workers it has seen so far."""

    ticket: int
    policy: Policy
    incumbent: Policy | None
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class _Running:
    """A job that a worker does since a time."""

    worker: Any
    job: _Job
    since: float

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self.since


class RayPool(ScoringPool):
    """Actors of the cluster that this process is connected to. Use as a context manager.

    A worker that dies is replaced, and its candidate is scored again; one that does not answer in
    time is ended and replaced, and its candidate has no score.

    Args:
        evaluate: What scores; it is put into the object store once, and each worker has its copy.
        workers: How many actors; fewer where the cluster has no room, with the same result.
        seconds: How long a candidate may take.

    Raises:
        DataError: What scores cannot be sent.
        ClusterError: The object store has no room for it.
    """

    def __init__(self, evaluate: Evaluate, workers: int, seconds: float) -> None:
        super().__init__(workers)
        self._evaluate, self._seconds = evaluate, seconds
        # Sums differ in their last bits with the number of threads, so one worker has the driver's.
        self._threads = 1 if workers > 1 else torch.get_num_threads()
        self._origin = origin_here()
        self._actor: Any = ray.remote(ScoringWorker).options(num_cpus=1, max_restarts=0)
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, _Running] = {}
        self._failed_starts = 0
        self._waiting: deque[_Job] = deque()
        self._answers: dict[int, Answer] = {}
        self._tickets = itertools.count()
        self._payload = [_put(evaluate)]
        self._waiting_since = time.monotonic()
        self._keep_number()

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (*self._idle, *self._starting.values(), *self._busy()):
            _end(worker)
        self._idle, self._starting, self._running = [], {}, {}
        self._payload = []

    def start(self, policy: Policy, incumbent: Policy | None) -> int:
        """Give it to an idle worker, or to the first that will be."""
        job = _Job(next(self._tickets), policy, incumbent)
        self._waiting.append(job)
        self._submit()
        return job.ticket

    def answer(self, ticket: int) -> Answer:
        """What came of a policy; the others' answers are kept as they come."""
        self._keep_number()
        while ticket not in self._answers:
            self._submit()
            self._wait()
        return self._answers.pop(ticket)

    def drop(self) -> None:
        """End the workers that are scoring; others are started where more is to be scored."""
        for worker in self._busy():
            _end(worker)
        self._running = {}
        self._waiting.clear()
        self._answers.clear()

    def _busy(self) -> list[Any]:
        return [running.worker for running in self._running.values()]

    def _keep_number(self) -> None:
        """Start workers until there are as many as there should be."""
        working = len(self._idle) + len(self._running)
        if working and self._failed_starts >= ATTEMPTS:
            return  # those that there are do all the work
        for _ in range(working + len(self._starting), self.workers):
            worker = self._actor.remote()
            reference = worker.prepare.remote(self._origin, self._payload, self._threads)
            self._starting[reference] = worker

    def _submit(self) -> None:
        """Give waiting policies to idle workers."""
        while self._idle and self._waiting:
            worker, job = self._idle.pop(0), self._waiting.popleft()
            known = _known(self._evaluate, job.policy, job.incumbent)
            reference = worker.score.remote(job.policy, job.incumbent, known)
            self._running[reference] = _Running(worker, job, time.monotonic())

    def _wait(self) -> None:
        """Wait until a worker has started, answered, died or taken too long."""
        now = time.monotonic()
        ends = [running.since + self._seconds for running in self._running.values()]
        if not self._running and not self._idle:
            ends.append(self._waiting_since + START_SECONDS)
        references = [*self._running, *self._starting]
        patience = max(0.0, min(ends, default=now) - now)
        done, _ = ray.wait(references, num_returns=1, timeout=patience)
        for reference in done:
            if reference in self._starting:
                self._started(reference)
            else:
                self._answered(reference)
        if not done:
            self._give_up()
        self._keep_number()

    def _started(self, reference: Any) -> None:
        worker = self._starting.pop(reference)
        found: Any = attempt(lambda: ray.get(reference))
        if isinstance(found, Ready):
            self._failed_starts = 0
            self._idle.append(worker)
            return
        _end(worker)
        if isinstance(found, Refusal):
            raise ClusterError(found.reason)
        self._failed_starts += 1
        if self._failed_starts >= ATTEMPTS and not (self._idle or self._running):
            raise ClusterError(f"workers die when they start: {_one_line(found.error)}")

    def _answered(self, reference: Any) -> None:
        running = self._running.pop(reference)
        found = attempt(lambda: ray.get(reference))
        if not isinstance(found, Raised):
            answer, findings = found
            _take(self._evaluate, findings)
            self._idle.append(running.worker)
            self._answers[running.job.ticket] = answer
            return
        _end(running.worker)
        if isinstance(found.error, RayActorError | OutOfMemoryError):
            self._died(running, found.error)
        else:
            self._fail(running, f"its answer cannot be received: {_one_line(found.error)}")

    def _died(self, running: _Running, error: BaseException) -> None:
        """Score the candidate again, unless it has brought down several workers."""
        self._waiting_since = time.monotonic()
        running.job.deaths += 1
        if running.job.deaths >= ATTEMPTS:
            self._fail(running, f"its worker died {ATTEMPTS} times: {_one_line(error)}")
            return
        _LOG.info("a worker died and is replaced; its candidate is scored again")
        self._waiting.appendleft(running.job)

    def _give_up(self) -> None:
        """End workers that took too long, or the pool where none starts."""
        for reference, running in list(self._running.items()):
            if running.seconds >= self._seconds:
                del self._running[reference]
                _end(running.worker)
                self._waiting_since = time.monotonic()
                self._fail(running, f"not scored within {self._seconds:g} s: given up")
        waited = time.monotonic() - self._waiting_since
        if waited >= START_SECONDS and not (self._running or self._idle or self._answers):
            free = ray.available_resources().get("CPU", 0)
            raise ClusterError(
                f"no worker started within {START_SECONDS:.0f} s: "
                f"{self.workers} need a CPU each, and {free:g} are free"
            )

    def _fail(self, running: _Running, reason: str) -> None:
        self._answers[running.job.ticket] = Unscored(reason, running.seconds)


def check_travels(name: str, thing: object) -> None:
    """Check that something can be sent to a worker.

    Raises:
        DataError: It cannot; says what, and why.
    """
    answer = attempt(lambda: cloudpickle.dumps(thing))  # pyright: ignore[reportPrivateImportUsage]
    if isinstance(answer, Raised):
        raise DataError(
            f"the {name} cannot be sent to workers: {_one_line(answer.error)}", options=("workers",)
        ) from answer.error


def _put(evaluate: Evaluate) -> Any:
    answer = attempt(lambda: ray.put(evaluate))
    if not isinstance(answer, Raised):
        return answer
    if isinstance(answer.error, ObjectStoreFullError | OutOfDiskError):
        total = ray.cluster_resources().get("object_store_memory", 0.0)
        raise ClusterError(
            f"Ray's object store of {total / 1e6:.0f} MB has no room for the model, its data and "
            "its database, and the disk that it could use instead is full: start Ray with more "
            "memory for its objects, or calibrate on less",
            options=("calibration",),
        ) from answer.error
    check_travels("model, its data or its score", evaluate)
    raise ClusterError(f"Ray takes no objects: {_one_line(answer.error)}") from answer.error


def _end(worker: Any) -> None:
    with suppress(RayError):
        ray.kill(worker, no_restart=True)


def _one_line(error: BaseException) -> str:
    """What Ray says, without its frames."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
