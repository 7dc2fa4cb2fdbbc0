"""The state that this machine is in while it measures, and what disturbs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from automl.latency.host import cpu_fields, cpu_model

_CPUFREQ: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_THERMAL: Final = Path("/sys/class/thermal")
_STAT: Final = Path("/proc/stat")
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
    """

    processor: str
    cores: int
    governor: str
    clock_hertz: float | None
    temperature: float | None
    power_mode: str

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


def conditions() -> Conditions:
    """The state of this machine now."""
    return Conditions(
        cpu_model(),
        len(os.sched_getaffinity(0)),
        _text(_CPUFREQ / "scaling_governor"),
        _clock(),
        _temperature(),
        _power_mode(),
    )


def others_load(seconds: float = 0.2) -> float:
    """Cores that other processes keep busy, watched for `seconds` while this one sleeps."""
    before = _busy_and_total()
    time.sleep(seconds)
    after = _busy_and_total()
    total = after[1] - before[1]
    share = (after[0] - before[0]) / total if total > 0 else 0.0
    return share * (os.cpu_count() or 1)


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
    if state.temperature is not None and state.temperature >= _HOT:
        return f"the processor is at {state.temperature:.0f} °C and may slow itself down"
    if state.governor == "powersave" and state.clock_hertz is not None:
        return "the clock's governor is powersave: timings will vary"
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _clock() -> float | None:
    kilohertz = _number(_text(_CPUFREQ / "scaling_cur_freq"))
    if kilohertz is not None:
        return kilohertz * 1e3
    megahertz = _number(cpu_fields().get("cpu MHz", ""))
    return None if megahertz is None else megahertz * 1e6


def _temperature() -> float | None:
    zones = [_number(_text(zone / "temp")) for zone in _THERMAL.glob("thermal_zone*")]
    degrees = [value / 1e3 for value in zones if value is not None and value > 0]
    return max(degrees, default=None)


def _power_mode() -> str:
    if shutil.which("nvpmodel") is None:
        return ""
    found = subprocess.run(
        ["nvpmodel", "-q"], capture_output=True, text=True, timeout=10, check=False
    )
    lines = [line for line in found.stdout.splitlines() if "Power Mode" in line]
    return lines[0].partition(":")[2].strip() if lines else ""


def _busy_and_total() -> tuple[int, int]:
    """Clock ticks since boot: those in which some core worked, and all of all cores."""
    fields = _text(_STAT).partition("\n")[0].split()[1:9]
    ticks = [int(field) for field in fields]
    return sum(ticks) - sum(ticks[3:5]), sum(ticks)
