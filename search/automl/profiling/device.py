"""The state that a machine is in while it measures, and what disturbs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from automl.profiling.worker_state import load, state

_HOT: Final = 80.0  # degrees Celsius at which boards begin to slow down


@dataclass(frozen=True, slots=True)
class Conditions:
    """What was noted; None or "" where the machine does not tell.

    Attributes:
        processor: What people call it.
        cores: Cores that we may use.
        governor: Of the first core's clock.
        clock_hertz: Of the first core.
        temperature: Of the hottest zone, in degrees Celsius.
        power_mode: Of a Jetson, as nvpmodel names it.
        max_clock_hertz: To which the first core's clock is limited.
        gpu: Clock range and governor of a Jetson's GPU.
        throttled: Why a Raspberry Pi's firmware slows it down now.
        throttles: How often an Intel processor slowed itself down since it was started.
    """

    processor: str
    cores: int
    governor: str
    clock_hertz: float | None
    temperature: float | None
    power_mode: str
    max_clock_hertz: float | None = None
    gpu: str = ""
    throttled: str = ""
    throttles: int = 0

    @property
    def clocks(self) -> str:
        """What of the clocks must not change between the rows of a table."""
        parts = [f"governor {self.governor}"] if self.governor else []
        if self.max_clock_hertz is not None:
            parts.append(f"up to {self.max_clock_hertz / 1e9:.2f} GHz")
        if self.gpu:
            parts.append(f"GPU {self.gpu}")
        return ", ".join(parts)

    def __str__(self) -> str:
        parts = [self.processor, f"{self.cores} cores"]
        if self.clock_hertz is not None:
            parts.append(f"{self.clock_hertz / 1e9:.2f} GHz")
        if self.governor:
            parts.append(f"governor {self.governor}")
        if self.temperature is not None:
            parts.append(f"{self.temperature:.0f} °C")
        if self.power_mode:
            parts.append(f"power mode {self.power_mode}")
        return ", ".join(parts)


def conditions_from(found: Mapping[str, Any]) -> Conditions:
    """What a worker says of its machine."""
    return Conditions(**{field.name: found[field.name] for field in fields(Conditions)})


def conditions() -> Conditions:
    """The state of this machine now."""
    return conditions_from(state())


def others_load(seconds: float = 0.2) -> float:
    """Cores that other processes keep busy, watched for `seconds` while this one sleeps."""
    return load(seconds)


def disturbed(threads: int, load: float, state: Conditions) -> str:
    """One line on what makes timings doubtful, or "".

    Args:
        threads: Threads that will measure.
        load: Cores that others keep busy, from `others_load`.
        state: Of the machine.
    """
    if load > max(state.cores - threads, 0) + 0.15:
        return (
            f"other processes keep {load:.1f} of {state.cores} cores busy:"
            f" {threads} for measuring are not free"
        )
    if state.throttled:
        return f"the board slows itself down: {state.throttled}"
    if state.temperature is not None and state.temperature >= _HOT:
        return f"the processor is at {state.temperature:.0f} °C and may slow itself down"
    if state.governor == "powersave" and state.clock_hertz is not None:
        return "the clock's governor is powersave: timings will vary"
    return ""


def slowed(before: Conditions, now: Conditions) -> str:
    """One line on how a machine slowed down while it measured, or ""."""
    if now.throttled and now.throttled != before.throttled:
        return f"the board began to slow itself down: {now.throttled}"
    if now.throttles > before.throttles:
        count = now.throttles - before.throttles
        return f"the processor slowed itself down {count} times because of its temperature"
    if now.temperature is not None and now.temperature >= _HOT:
        return f"the processor reached {now.temperature:.0f} °C and may have slowed down"
    if now.clocks != before.clocks or now.power_mode != before.power_mode:
        return "clocks or power mode were changed while it measured"
    return ""
