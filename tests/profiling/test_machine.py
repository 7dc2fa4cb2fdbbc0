"""What is found out of a machine: instructions, packages and their versions, folders."""

from __future__ import annotations

import os
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from automl.errors import MeasureError
from automl.profiling import machine
from automl.profiling.machine import EXTRAS, examine, instructions, is_older, requirements

ROOT = Path(__file__).resolve().parents[2]


def test_this_machine_is_examined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))
    found = examine()
    assert found.problems == ()
    assert found.runtimes["onnxruntime"] == metadata.version("onnxruntime")
    assert isinstance(found.saturates, bool)
    assert found.state.cores >= 1
    tables = found.folders[0]
    assert (tables.path, tables.exists, tables.writable) == (
        tmp_path / "home" / "tables",
        False,
        True,
    )
    if sys.platform == "linux":
        assert found.memory_bytes is not None
        assert found.available_bytes is not None
        assert 0 < found.available_bytes < found.memory_bytes


def test_instructions_are_told_by_the_flags_of_x86_and_arm() -> None:
    assert instructions({"flags": "sse avx2 avx512_vnni"}) == ("AVX2", "AVX-512 VNNI")
    assert instructions({"Features": "fp asimd neon asimddp i8mm"}) == (
        "NEON",
        "dot product",
        "INT8 matrix",
    )
    assert instructions({}) == ()


@pytest.mark.parametrize(
    ("version", "least", "older"),
    [
        ("2.9.0+cpu", "2.9", False),
        ("2.10", "2.9", False),
        ("2.8.1", "2.9", True),
        ("1", "1.0.1", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, least: str, older: bool) -> None:
    assert is_older(version, least) is older


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {**project["optional-dependencies"]}
    for own in ("dev", "docs"):  # for those who work on automl
        declared.pop(own)
    assert EXTRAS.keys() == declared.keys()
    for extra, (package, _) in EXTRAS.items():
        assert any(line.lower().startswith(package) for line in declared[extra])


def asking(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: [*lines])


def test_requirements_are_read_with_the_extras_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    asking(
        monkeypatch,
        "torch>=2.9",
        "ray[tune]>=2.60; extra == 'ray'",
        "tensorrt>=10.3; (platform_system == 'Linux') and extra == 'tensorrt'",
        "torch-pruning==1.6.1; extra == 'dev'",
    )
    assert requirements() == {
        "torch": ("2.9", True),
        "ray": ("2.60", False),
        "tensorrt": ("10.3", False),
    }


def test_what_is_needed_and_missing_or_old_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    asking(monkeypatch, "no-such-package-of-ours>=1", "numpy>=999")
    found = examine()
    assert "no-such-package-of-ours: not installed" in found.problems
    assert f"numpy: {metadata.version('numpy')} is older than 999" in found.problems
    by_name = {each.name: each for each in found.packages}
    assert by_name["numpy"].install == "pip install 'numpy>=999'"


def test_a_package_that_was_never_installed_asks_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert requirements() == {}


def test_an_interpreter_that_ends_without_a_word_is_told() -> None:
    with pytest.raises(MeasureError, match="it ended with status 1"):
        machine.hello_here("false")


def test_a_worker_that_does_not_start_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def hello() -> None:
        raise MeasureError("ended with status 1")

    monkeypatch.setattr(machine, "hello_here", hello)
    found = examine()
    assert found.problems[0] == "the process that measures: ended with status 1"
    assert (found.saturates, dict(found.runtimes)) == (None, {})


def test_a_folder_that_cannot_be_made_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "file"))
    assert f"tables: {tmp_path / 'file' / 'tables'} cannot be written" in examine().problems
    for name in ("AUTOML_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # nor one in the password file
    assert any("set AUTOML_HOME" in each for each in examine().problems)
