"""The state of the machine that measures, for the worker; needs Python alone and no rights.

What a machine does not tell is None or "". Sources: sysfs of Linux (cpufreq, thermal, devfreq,
the Raspberry Pi's firmware, Intel's throttle counters), /proc, and NVIDIA's nvpmodel.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path("/")
CPUFREQ = "sys/devices/system/cpu/cpu0/cpufreq"
#: Bits of the Raspberry Pi's firmware that hold now; higher bits say that they held once.
PI_THROTTLE = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
#: Names of a Jetson's GPU in /sys/class/devfreq, from Nano to Orin.
GPUS = ("*.gpu", "*.gp10b", "*.gv11b", "*.ga10b")


def state() -> dict[str, Any]:
    """Processor, clocks, temperature, power mode and throttling now."""
    return {
        "processor": processor(),
        "cores": cores(),
        "governor": text(CPUFREQ + "/scaling_governor"),
        "clock_hertz": clock(),
        "max_clock_hertz": number(CPUFREQ + "/scaling_max_freq", 1e3),
        "gpu": gpu(),
        "temperature": temperature(),
        "power_mode": power_mode(),
        "throttled": throttled(),
        "throttles": throttles(),
    }


def cores() -> int:
    """Cores that this process may use; all of the machine's where the system does not tell."""
    ours = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(ours(0)) if ours is not None else os.cpu_count() or 1


def load(seconds: float = 0.2) -> float:
    """Cores that are kept busy while this process sleeps."""
    before = ticks()
    time.sleep(seconds)
    after = ticks()
    total = after[1] - before[1]
    share = (after[0] - before[0]) / total if total > 0 else 0.0
    return share * (os.cpu_count() or 1)


def text(path: str) -> str:
    """A file's text, "" where it cannot be read."""
    try:
        return (ROOT / path).read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""


def number(path: str, scale: float = 1.0) -> float | None:
    """A file's number times `scale`, None where there is none."""
    try:
        return float(text(path)) * scale
    except ValueError:
        return None


def cpuinfo(name: str) -> str:
    """A field of the first processor in /proc/cpuinfo."""
    for line in text("proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def processor() -> str:
    """What people call the board or its processor."""
    board = text("proc/device-tree/model")
    return board or cpuinfo("model name") or platform.processor() or platform.machine()


def clock() -> float | None:
    """Hertz of the first core now."""
    found = number(CPUFREQ + "/scaling_cur_freq", 1e3)
    if found is None and cpuinfo("cpu MHz"):
        found = float(cpuinfo("cpu MHz")) * 1e6
    return found


def gpu() -> str:
    """Clock range and governor of a Jetson's GPU."""
    for pattern in GPUS:
        for folder in sorted((ROOT / "sys/class/devfreq").glob(pattern)):
            path = "sys/class/devfreq/" + folder.name
            least, most = number(path + "/min_freq", 1e-6), number(path + "/max_freq", 1e-6)
            if least is not None and most is not None:
                governor = text(path + "/governor")
                return f"{least:.0f} to {most:.0f} MHz {governor}".strip()
    return ""


def temperature() -> float | None:
    """Degrees Celsius of the hottest zone."""
    zones = (ROOT / "sys/class/thermal").glob("thermal_zone*")
    found = [number(f"sys/class/thermal/{zone.name}/temp", 1e-3) for zone in zones]
    return max((degrees for degrees in found if degrees is not None and degrees > 0), default=None)


def power_mode() -> str:
    """A Jetson's power mode, as nvpmodel names it."""
    if shutil.which("nvpmodel") is None:
        return ""
    found = subprocess.run(
        ["nvpmodel", "-q"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=10,
        check=False,
    )
    lines = [
        line for line in found.stdout.decode(errors="replace").splitlines() if "Power Mode" in line
    ]
    return lines[0].partition(":")[2].strip() if lines else ""


def throttled() -> str:
    """What a Raspberry Pi's firmware slows it down for now."""
    found = text("sys/devices/platform/soc/soc:firmware/get_throttled")
    try:
        bits = int(found, 16)
    except ValueError:
        return ""
    return ", ".join(name for bit, name in enumerate(PI_THROTTLE) if bits >> bit & 1)


def throttles() -> int:
    """How often an Intel processor slowed itself down since it was started."""
    return int(number("sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count") or 0)


def ticks() -> tuple[int, int]:
    """Clock ticks since boot: those in which some core worked, and all of all cores."""
    fields = [int(field) for field in text("proc/stat").partition("\n")[0].split()[1:9]]
    return sum(fields) - sum(fields[3:5]), sum(fields)
