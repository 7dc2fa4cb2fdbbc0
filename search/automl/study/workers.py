"""Who scores policies: this process, or several workers at once.

The loop asks and tells in one process whatever the number of workers. It starts policies in the
order in which the agent proposed them, and takes answers in that order. So what an agent is told,
and which incumbent a candidate is raced against, never depends on which worker was faster.
"""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from automl.errors import AutomlError, Raised, attempt
from automl.interrupts import time_limit
from automl.policy import Policy
from automl.study.problem import Evaluation

Evaluate = Callable[[Policy], float]


@runtime_checkable
class StopsEarly(Protocol):
    """An evaluate that can give up a candidate which cannot any more beat the incumbent.

    What it answers must depend on the two policies alone, not on what it was asked before: a study
    that is resumed asks it less, and each of several workers a part.
    """

    def evaluate_against(self, policy: Policy, incumbent: Policy | None) -> Evaluation:
        """The score of a policy, below the incumbent's where it was given up."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """An evaluate whose findings spare another one of the same kind work."""

    def recall(self, policy: Policy) -> NDArray[np.float64]:
        """What was found of a policy so far; empty where that is nothing."""
        ...

    def remember(self, policy: Policy, found: NDArray[np.float64]) -> None:
        """Take what another has found of a policy."""
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """A policy's score.

    Attributes:
        score: Larger is better.
        images: On how many inputs, where that is known.
        seconds: Wall time that it took.
    """

    score: float
    images: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Unscored:
    """Why a policy has no score, and the wall time that was spent on it."""

    reason: str
    seconds: float


Answer: TypeAlias = Scored | Unscored


def score_policy(
    evaluate: Evaluate, policy: Policy, incumbent: Policy | None, seconds: float = inf
) -> Answer:
    """What comes of scoring a policy, whatever the user's code does.

    Args:
        evaluate: The score.
        policy: The candidate.
        incumbent: What it is raced against; None to score it in full.
        seconds: How long it may take, in the main thread.
    """
    start = time.monotonic()

    def limited() -> tuple[float, int | None]:
        with time_limit(seconds):
            return _score(evaluate, policy, incumbent)

    found = attempt(limited)
    seconds = time.monotonic() - start
    if isinstance(found, Raised):
        own = isinstance(found.error, AutomlError)  # which says by itself where in the user's code
        return Unscored(str(found.error if own else found), seconds)
    score, images = found
    if not isfinite(score):
        return Unscored(f"the score is {score}", seconds)
    return Scored(score, images, seconds)


def _score(
    evaluate: Evaluate, policy: Policy, incumbent: Policy | None
) -> tuple[float, int | None]:
    """The score and, where it is known, on how many images."""
    if not isinstance(evaluate, StopsEarly):
        return float(evaluate(policy)), None
    scored = evaluate.evaluate_against(policy, incumbent)
    return scored.score, scored.images


class ScoringPool(ABC):
    """Scores policies for the loop. What comes of one depends on what `start` is given alone.

    Attributes:
        workers: How many policies it scores at once. The result of a study depends on this number,
            the agent and its seed, and on nothing else of the pool.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @abstractmethod
    def start(self, policy: Policy, incumbent: Policy | None) -> int:
        """Have a policy scored; gives the ticket of its answer.

        Args:
            policy: The candidate.
            incumbent: What it is raced against; None to score it in full.
        """

    @abstractmethod
    def answer(self, ticket: int) -> Answer:
        """What came of a policy, once; waits for it.

        Raises:
            ClusterError: There are no workers any more, and why.
        """

    @abstractmethod
    def drop(self) -> None:
        """Give up all that was started and not answered."""


class LocalPool(ScoringPool):
    """Scores a policy in this process when its answer is wanted.

    Args:
        evaluate: The score.
        workers: As of how many workers a study's result is to be.
        seconds: How long a candidate may take, in the main thread.
    """

    def __init__(self, evaluate: Evaluate, workers: int = 1, seconds: float = inf) -> None:
        super().__init__(workers)
        self._evaluate, self._seconds = evaluate, seconds
        self._started: dict[int, tuple[Policy, Policy | None]] = {}
        self._tickets = itertools.count()

    def start(self, policy: Policy, incumbent: Policy | None) -> int:
        """Remember the policy."""
        ticket = next(self._tickets)
        self._started[ticket] = policy, incumbent
        return ticket

    def answer(self, ticket: int) -> Answer:
        """Score it."""
        policy, incumbent = self._started.pop(ticket)
        return score_policy(self._evaluate, policy, incumbent, self._seconds)

    def drop(self) -> None:
        """Forget the policies."""
        self._started.clear()
