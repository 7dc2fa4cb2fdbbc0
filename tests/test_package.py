"""What users install: a wheel that holds all that it needs, under a name that is ours."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from automl.errors import DISTRIBUTION, install_command

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Ways to ask the index for somebody else's package.
STALE = re.compile(r"(?<![\w.-])automl\[[a-z]|pip install (?:-\S+ )*'?automl(?![\w-])")
#: Files of the package that are no Python: what each kind is for stands in its folder.
DATA = (".toml", ".typed", ".pyi", ".npz", ".pt", ".json", ".html", ".css", ".js", ".md")
MODEL = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))

def loaders():
    inputs = torch.randn(64, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        targets = network()(inputs).argmax(1)
    return [(inputs[:32], targets[:32])], [(inputs[32:], targets[32:])]
"""


def tracked() -> list[Path]:
    """Files of the checkout; of a folder without git all but what is built or installed there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def run(
    words: Sequence[str | Path], folder: Path, status: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing of this checkout in sight."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"AUTOML_HOME": str(folder / ".automl"), "COLUMNS": "80"}
    done = subprocess.run(
        list(map(str, words)),
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == status, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-d", folder], ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


def test_the_name_is_the_same_everywhere() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    assert PROJECT["scripts"] == {"automl": "automl.cli.main:run"}
    assert install_command("ray") == f"pip install '{DISTRIBUTION}[ray]'"


@pytest.mark.parametrize(
    "stale",
    [
        "pip install 'automl[ray]'",
        "needs `automl[ray]`",
        "pip install automl",
        "pip install -U automl",
    ],
)
def test_a_stale_name_is_known(stale: str) -> None:
    assert STALE.search(stale)
    assert not STALE.search(stale.replace("automl", DISTRIBUTION))


def test_nobody_is_sent_to_another_package_of_that_name() -> None:
    own = Path(__file__).resolve()
    texts = [path for path in tracked() if path.suffix in (".py", ".md", ".toml", ".sh", "")]
    assert len(texts) > 500
    stale = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in texts
        if path != own
        for line in path.read_text(encoding="utf-8").splitlines()
        if STALE.search(line)
    ]
    assert stale == []


def test_the_changelog_tells_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(PROJECT['version'])}\] - \d{{4}}-\d\d-\d\d$", text, re.M)


def test_the_wheel_has_all_of_the_package(wheel: Path) -> None:
    package = ROOT / "search" / "automl"
    ours = {
        f"automl/{path.relative_to(package).as_posix()}"
        for path in tracked()
        if package in path.parents
    }
    for folder in ("latency_tables", "examples"):
        ours |= {
            f"automl/{path.relative_to(ROOT).as_posix()}"
            for path in tracked()
            if ROOT / folder in path.parents
        }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == ours
    assert "automl/py.typed" in held
    assert {Path(name).suffix for name in held} >= {*DATA, ".py", ".jsonl"}


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        told = email.message_from_bytes(archive.read(name))
    assert (told["Name"], told["Version"]) == (DISTRIBUTION, PROJECT["version"])
    assert told["Requires-Python"] == PROJECT["requires-python"] == ">=3.11"
    assert told["License-Expression"] == "Apache-2.0"
    assert {*told.get_all("Provides-Extra", [])} == PROJECT["optional-dependencies"].keys()


def test_the_source_makes_the_same_wheel(built: Path, wheel: Path, tmp_path: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    assert (folder / "LICENSE").is_file()
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], folder)
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert {e.filename: e.CRC for e in first.infolist() if "RECORD" not in e.filename} == {
            e.filename: e.CRC for e in second.infolist() if "RECORD" not in e.filename
        }


def test_the_wheel_alone_searches_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """A new environment, its dependencies from the package index, nothing of this checkout."""
    environment, folder = tmp_path / "environment", tmp_path / "empty"
    folder.mkdir()
    run([sys.executable, "-m", "venv", environment], tmp_path)
    python, automl = environment / "bin" / "python", environment / "bin" / "automl"
    run([python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel], tmp_path)
    run([python, "-m", "pip", "check"], folder)
    quiet = run([python, "-W", "error", "-c", "import automl; print(automl.__file__)"], folder)
    assert quiet.stdout.startswith(str(environment)), quiet.stdout
    assert quiet.stderr == ""
    assert "nothing that is needed is broken" in run([automl, "doctor"], folder).stdout
    (folder / "mine.py").write_text(MODEL, encoding="utf-8")
    words = ("--model", "mine.py:network", "--data", "mine.py:loaders", "--target", "rpi4-1t")
    run([automl, "init", *words, "--budget", "70%"], folder)
    assert "predicted latency" in run([automl, "search"], folder).stdout
    run([automl, "examples", "detector", "copied"], folder)
    assert (folder / "copied" / "train.py").is_file()
    assert len([*folder.glob("runs/*/policy.json")]) == 1
    assert len([*folder.glob("runs/*/report.html")]) == 1
