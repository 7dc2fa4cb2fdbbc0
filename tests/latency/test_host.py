"""This machine, told from others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from automl.latency import host

CPUINFO = """\
processor\t: 0
model name\t: Some CPU @ 2.50GHz
flags\t\t: fpu avx2
bogomips\t: 5000.0

processor\t: 1
model name\t: Some CPU @ 2.50GHz
flags\t\t: fpu
"""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine made of two files; returns the folder that holds them."""
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    monkeypatch.setattr(host, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(host, "_DEVICE_TREE", tmp_path / "model")
    host.cpu_fields.cache_clear()
    yield tmp_path
    host.cpu_fields.cache_clear()


def test_the_first_processor_counts() -> None:
    assert host.cpu_fields()["flags"] == "fpu avx2"
    assert host.cpu_model() == "Some CPU @ 2.50GHz"


def test_a_board_has_the_name_of_its_device_tree(machine: Path) -> None:
    (machine / "model").write_bytes(b"Raspberry Pi 4 Model B\0")
    assert host.cpu_model() == "Raspberry Pi 4 Model B"


def test_a_machine_without_such_files_has_a_name_all_the_same(machine: Path) -> None:
    (machine / "cpuinfo").unlink()
    host.cpu_fields.cache_clear()
    assert host.cpu_fields() == {}
    assert host.cpu_model()


def test_a_fingerprint_can_be_a_file_name_and_tells_what_matters(machine: Path) -> None:
    one, two = host.fingerprint(1), host.fingerprint(2)
    assert re.fullmatch(r"cpu-some-cpu-2-50ghz-[0-9a-f]{6}-onnxruntime-[\w.+-]+-1t", one)
    assert two == one.removesuffix("1t") + "2t"
    (machine / "cpuinfo").write_text(CPUINFO.replace("bogomips\t: 5000.0", "bogomips\t: 4999.9"))
    host.cpu_fields.cache_clear()
    assert host.fingerprint(1) == one  # changes from start to start
    (machine / "cpuinfo").write_text(CPUINFO.replace("avx2", "avx2 avx512f"))
    host.cpu_fields.cache_clear()
    assert host.fingerprint(1) != one


def test_without_the_runtime_there_is_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.cpu_runtime_version()[0].isdigit()
    monkeypatch.setattr(host, "CPU_RUNTIME", "no-such-distribution")
    assert host.cpu_runtime_version() == "none"
