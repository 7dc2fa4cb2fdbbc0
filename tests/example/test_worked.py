"""Worked examples are copied whole or not at all, and each runs in the folder of its copy."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from automl.errors import OutputError, UnknownNameError
from automl.example import copy_worked_example, worked_examples

ROOT = Path(__file__).resolve().parents[2]
NAMES = [each.name for each in worked_examples()]
#: What stands in for timm where it is not installed: a network that it does not have.
STANDS_IN = """
from torch import nn


def create_model(name, pretrained, num_classes):
    assert name == "mobilenetv3_small_100" and not pretrained
    def conv(before, after):
        return nn.Sequential(
            nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
        )
    return nn.Sequential(
        conv(3, 16), conv(16, 32), conv(32, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(32, num_classes),
    )
"""


def execute(folder: Path, *words: str, status: int = 0) -> str:
    """Run Python in a folder, with this checkout's package; what it printed."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "search"),
        "AUTOML_HOME": str(folder / ".automl"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "80",
    }
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == status, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout if status == 0 else done.stderr


def test_there_are_three() -> None:
    assert NAMES == ["detector", "timm", "vit"]
    for each in worked_examples():
        assert each.path == ROOT / "examples" / each.name
        assert each.summary


@pytest.mark.parametrize("name", NAMES)
def test_a_readme_gives_two_commands(name: str) -> None:
    text = (ROOT / "examples" / name / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^    (\S.*)$", text, re.M) == ["python train.py", "automl search"]
    for file in re.findall(r"^\| (\w+\.\w+) \|", text, re.M):
        assert (ROOT / "examples" / name / file).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_all_of_it_is_copied(name: str, tmp_path: Path) -> None:
    copy_worked_example(name, tmp_path / "new" / "x")
    source = ROOT / "examples" / name
    files = sorted(path.name for path in source.iterdir() if path.is_file())
    assert sorted(path.name for path in (tmp_path / "new" / "x").iterdir()) == files
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x"]
    for file in files:
        content = (tmp_path / "new" / "x" / file).read_bytes()
        assert content == (source / file).read_bytes()
        if file.endswith(".py"):
            ast.parse(content)


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    (tmp_path / "file").touch()
    for taken in ("full", "file", "file/inside"):
        with pytest.raises(OutputError, match=re.escape(str(tmp_path / taken))):
            copy_worked_example("vit", tmp_path / taken)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    copy_worked_example("vit", tmp_path / "empty")
    assert (tmp_path / "empty" / "automl.toml").is_file()


def test_a_wrong_name_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="vit"):
        copy_worked_example("vitt", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def shortened(folder: Path) -> None:
    """Train for one epoch, on few: that it trains well is no matter of seconds."""
    file = folder / "train.py"
    text = file.read_text(encoding="utf-8")
    assert len(re.findall(r"EPOCHS(, BATCH)? = \d+|EPOCHS, BATCH = \d+", text)) == 1
    file.write_text(re.sub(r"(EPOCHS\b.* = (?:64, )?)\d+", r"\g<1>1", text), encoding="utf-8")
    data = folder / "data.py"
    if data.is_file():  # scenes are drawn
        text = data.read_text(encoding="utf-8")
        few = re.sub(r"batches\((\d), \d+\)", r"batches(\1, 2)", text)
        data.write_text(few, encoding="utf-8")


def searched(folder: Path) -> str:
    trained = execute(folder, "train.py")
    assert trained.startswith("weights.pt: ")
    settings = tomllib.loads((folder / "automl.toml").read_text(encoding="utf-8"))
    assert settings["budget"] == "60%"
    return execute(folder, "-m", "automl", "search", "--calibration", "64", "--agent", "uniform")


@pytest.mark.parametrize("name", ["detector", "vit"])
def test_it_runs_where_it_was_copied_to(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    copy_worked_example(name, folder)
    shortened(folder)
    printed = searched(folder)
    assert "predicted latency" in printed
    assert len([*folder.glob("runs/*/policy.json")]) == 1


def test_the_one_of_timm_runs_with_a_network_that_stands_in(tmp_path: Path) -> None:
    folder = tmp_path / "timm-example"
    copy_worked_example("timm", folder)
    shortened(folder)
    (folder / "timm.py").write_text(STANDS_IN, encoding="utf-8")
    assert "predicted latency" in searched(folder)


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_the_one_of_timm_runs_with_timm(tmp_path: Path) -> None:
    folder = tmp_path / "timm-example"
    copy_worked_example("timm", folder)
    shortened(folder)
    assert "predicted latency" in searched(folder)


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_it_says_what_to_install(tmp_path: Path) -> None:
    folder = tmp_path / "timm-example"
    copy_worked_example("timm", folder)
    told = execute(folder, "train.py", status=1)
    assert told.splitlines()[-1].endswith("takes its network from timm: pip install timm")
