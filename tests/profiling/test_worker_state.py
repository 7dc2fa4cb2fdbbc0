"""What boards tell of themselves, from the files that they have."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from automl.profiling import worker_state
from automl.profiling.device import conditions_from, disturbed, slowed

JETSON = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1510400\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1510400\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
    "sys/class/devfreq/17000000.gpu/governor": "nvhost_podgov\n",
    "sys/class/thermal/thermal_zone0/temp": "47125\n",
    "sys/class/thermal/thermal_zone1/temp": "52000\n",
}
PI = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    "sys/class/thermal/thermal_zone0/temp": "85200\n",
}
LAPTOP = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: A Chip\ncpu MHz\t\t: 2400.5\n",
    "proc/stat": "cpu  10 0 20 70 5 0 0 0 0 0\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "7\n",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(worker_state, "ROOT", tmp_path)
    return tmp_path


def lay(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def test_a_jetson(root: Path) -> None:
    lay(root, JETSON)
    found = conditions_from(worker_state.state())
    assert found.processor == "NVIDIA Jetson Orin Nano Developer Kit"
    assert found.clocks == "governor schedutil, up to 1.51 GHz, GPU 306 to 625 MHz nvhost_podgov"
    assert found.temperature == 52.0


def test_nvpmodel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = tmp_path / "nvpmodel"
    fake.write_text("#!/bin/sh\necho 'NVPM WARN: fan mode is not set!' >&2\n"
                    "echo 'NV Power Mode: 15W'\necho 0\n")  # fmt: skip
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert worker_state.power_mode() == "15W"
    assert capfd.readouterr() == ("", "")


def test_a_pi_that_is_throttled(root: Path) -> None:
    lay(root, PI)
    found = conditions_from(worker_state.state())
    assert found.throttled == "under-voltage, throttled"
    assert "under-voltage" in disturbed(1, 0.0, found)
    lay(root, {"sys/devices/platform/soc/soc:firmware/get_throttled": "50000\n"})
    before = conditions_from(worker_state.state())
    assert before.throttled == ""  # it was, before
    assert "began to slow itself down: under-voltage, throttled" in slowed(before, found)
    assert "reached 85 °C" in slowed(before, before)


def test_a_laptop(root: Path) -> None:
    lay(root, LAPTOP)
    before = conditions_from(worker_state.state())
    assert (before.processor, before.clock_hertz, before.throttles) == ("A Chip", 2400.5e6, 7)
    assert before.clocks == ""
    assert worker_state.ticks() == (30, 105)
    assert slowed(before, before) == ""
    lay(root, {"sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "9\n"})
    assert "2 times" in slowed(before, conditions_from(worker_state.state()))
    lay(root, {"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n"})
    changed = conditions_from({**worker_state.state(), "throttles": 7})
    assert "were changed" in slowed(before, changed)


def test_a_machine_that_tells_nothing(root: Path) -> None:
    found = conditions_from(worker_state.state())
    assert found.processor
    assert (found.clock_hertz, found.temperature, found.clocks) == (None, None, "")


def test_it_needs_python_alone_and_an_old_one() -> None:
    tree = ast.parse(
        Path(worker_state.__file__).read_text(encoding="utf-8"), feature_version=(3, 8)
    )
    modules = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in modules} <= sys.stdlib_module_names
