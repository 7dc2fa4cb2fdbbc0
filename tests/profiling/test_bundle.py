"""The worker as one file."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import automl.profiling
from automl.profiling.bundle import worker_bundle


def test_it_holds_all_files_of_the_worker_as_they_are() -> None:
    with zipfile.ZipFile(io.BytesIO(worker_bundle())) as bundle:
        held = {name: bundle.read(name) for name in bundle.namelist()}
    folder = Path(automl.profiling.__file__).parent
    expected = {path.name: path.read_bytes() for path in folder.glob("worker*.py")}
    expected["__main__.py"] = expected.pop("worker.py")
    assert held == expected


def test_it_is_the_same_every_time() -> None:
    assert worker_bundle() == worker_bundle()


def test_python_runs_it_whatever_it_is_called(tmp_path: Path) -> None:
    file = tmp_path / "anything"
    file.write_bytes(worker_bundle())
    command = [sys.executable, "-I", str(file)]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=True)
    (hello,) = map(json.loads, done.stdout.splitlines())
    assert hello["onnxruntime"]
