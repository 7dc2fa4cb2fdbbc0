"""The pool that a search's options ask for, and what has to be there before work begins."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from automl.options import SCORE_SECONDS
from automl.study.cluster import check_ray, connected
from automl.study.workers import Evaluate, LocalPool, ScoringPool


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How many score at once, and where.

    Attributes:
        workers: Their number. With one and no address, this process scores.
        address: Of the Ray cluster that they run on, as for `connected`; None for an instance of
            our own where there are several.
        seconds: How long one candidate may take in a worker.
    """

    workers: int = 1
    address: str | None = None
    seconds: float = SCORE_SECONDS

    @property
    def need_ray(self) -> bool:
        """Whether others score, and not this process."""
        return self.workers > 1 or self.address is not None


@contextlib.contextmanager
def reached_workers(settings: WorkerSettings, **travelling: object) -> Iterator[None]:
    """Be where the workers can be started until the block ends; nothing where none are needed.

    Args:
        settings: Which workers.
        travelling: What they are to be sent, by what it is called in a message.

    Raises:
        UsageError: Ray is not installed.
        ClusterError: The cluster cannot be reached.
        DataError: Something that cannot be sent, named.
    """
    if not settings.need_ray:
        yield
        return
    check_ray("scoring in several workers")
    from automl.study.ray_workers import check_travels

    for name, each in travelling.items():
        check_travels(name, each)
    with connected(settings.address or "local", settings.workers):
        yield


@contextlib.contextmanager
def open_pool(evaluate: Evaluate, settings: WorkerSettings) -> Iterator[ScoringPool]:
    """The pool of the settings until the block ends, which ends its workers.

    Raises:
        UsageError, DataError: As `reached_workers`.
        ClusterError: The cluster cannot be reached, holds no room for what the workers need, or no
            worker of it starts.
    """
    if not settings.need_ray:
        yield LocalPool(evaluate, seconds=settings.seconds)
        return
    with reached_workers(settings):
        from automl.study.ray_workers import RayPool

        with RayPool(evaluate, settings.workers, settings.seconds) as pool:
            yield pool
