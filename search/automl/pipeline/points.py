"""What is told of a finished trial while a search goes on."""

from __future__ import annotations

from dataclasses import dataclass

from automl.units import Quantity, TimeUnit


@dataclass(frozen=True, slots=True)
class Course:
    """What is known of a study before its first trial.

    Attributes:
        trials: Most trials; None for no limit. An agent may be finished before.
        seconds: Most wall time; None for no limit.
        quantity: What the score is traded against.
        unit: Of latencies.
        limit: The most that a policy may cost in that quantity; None where others are limited.
    """

    trials: int | None = None
    seconds: float | None = None
    quantity: Quantity = "latency"
    unit: TimeUnit = "seconds"
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class TrialPoint:
    """One finished trial.

    Attributes:
        number: In its study.
        state: COMPLETE, INFEASIBLE or FAILED.
        score: None where it has none.
        latency: Predicted, in the unit of its study's `Course`; None where it is not priced.
        macs: Multiply-accumulates of one input.
        bytes: Size of the weights.
        seconds: What making and scoring it took.
        reason: Why it failed.
        course: Of its study.
        stored: Whether it is from before the run was resumed.
    """

    number: int
    state: str
    score: float | None
    latency: float | None
    macs: float
    bytes: float
    seconds: float
    reason: str = ""
    course: Course = Course()
    stored: bool = False

    @property
    def cost(self) -> float | None:
        """What the score is traded against; None where that is not known."""
        return {"latency": self.latency, "macs": self.macs, "bytes": self.bytes}.get(
            self.course.quantity
        )
