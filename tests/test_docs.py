"""The documents do what they say: their files are written, their commands run, in their order."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import jsonschema
import pytest
import yaml
from made_runs import make_run, make_sweep
from ray.scripts.scripts import start as start_ray
from ray.scripts.symmetric_run import symmetric_run

from automl.cost import Budget, Limit
from automl.errors import InfeasibleError
from automl.units import parse_budget

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Seconds after which a command hangs; a busy machine may take minutes for what is quick elsewhere.
HANGS = 3600
#: Commands that set up environments of their own, or that need what no test machine has.
NOT_HERE = ("make ", "git ", "pip ", "ssh ")


@dataclass(frozen=True)
class Fence:
    """A fenced block: its language, the file that it is, whether it is run, its text.

    One that needs what no test machine has is marked `elsewhere`, as what file if it is one.
    """

    language: str
    file: str
    run: bool
    text: str
    elsewhere: str | None = None


def fences(document: str) -> list[Fence]:
    """All fenced blocks of a document, in order."""
    found = []
    for language, rest, text in FENCE.findall((ROOT / document).read_text(encoding="utf-8")):
        words = rest.split()
        file = next((word[5:] for word in words if word.startswith("file=")), "")
        away = next((word for word in words if word.startswith("elsewhere")), None)
        elsewhere = None if away is None else away.removeprefix("elsewhere").removeprefix("=")
        found.append(Fence(language, file, "run" in words, text, elsewhere))
    return found


def commands(document: str) -> list[str]:
    """Every command of a document's console blocks."""
    return [
        line[2:]
        for fence in fences(document)
        if fence.language == "console"
        for line in fence.text.splitlines()
        if line.startswith("$ ")
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of pages that search the example on this machine: one user reads them all."""
    return tmp_path_factory.mktemp("home")


def execute(words: list[str], folder: Path, home: Path | None = None) -> str:
    """Run a command as a user would, in a folder, with tables of its own or those of a home."""
    kept = folder / ".automl" if home is None else home
    environment = os.environ | {"AUTOML_HOME": str(kept), "COLUMNS": "80"}
    # Ray connects to whatever cluster this machine has: that of a test beside, which ends.
    environment["RAY_ADDRESS"] = "local"
    if words[0] == "automl":
        words = [sys.executable, "-m", "automl", *words[1:]]
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    shown = shlex.join(words)
    assert done.returncode == 0, f"{shown}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def follow(document: str, folder: Path, home: Path | None = None) -> list[str]:
    """Do all that a document says; what its commands printed."""
    printed = []
    for fence in fences(document):
        if fence.file:
            (folder / fence.file).write_text(fence.text, encoding="utf-8")
        if fence.run:
            printed.append(execute([sys.executable, fence.file], folder, home))
        if fence.language == "console":
            for line in fence.text.splitlines():
                if line.startswith("$ ") and not line[2:].startswith(NOT_HERE):
                    printed.append(execute(shlex.split(line[2:]), folder, home))
    return printed


def test_the_page_on_reports_is_followed(tmp_path: Path) -> None:
    for name in ("example-cpu-50pct", "other"):
        make_run(tmp_path / "runs" / name)
    make_sweep(tmp_path / "runs" / "small-sweep")
    printed = follow("docs/report.md", tmp_path)
    assert "Next: python -m webbrowser" in printed[0]
    assert (tmp_path / "both.html").is_file()


def test_the_page_on_the_terminal_is_followed(tmp_path: Path) -> None:
    printed = follow("docs/terminal.md", tmp_path)
    assert "nothing that is needed is broken" in printed[0]
    assert json.loads(printed[1])["problems"] == []


def test_tutorial(tmp_path: Path) -> None:
    printed = follow("docs/tutorial.md", tmp_path)
    assert (tmp_path / "small.onnx").is_file()
    assert any("measured latency" in text for text in printed)


def test_start(tmp_path: Path) -> None:
    printed = follow("docs/start.md", tmp_path)
    assert "Next: automl examples detector" in printed[1]
    assert "Next: cd first && python train.py && automl search" in printed[2]
    assert printed[3].endswith("Next: automl search\n")
    assert "predicted latency" in printed[4]
    assert (tmp_path / "small.onnx").is_file()


def test_own(tmp_path: Path) -> None:
    printed = follow("docs/own.md", tmp_path)
    assert len(printed) == 2
    assert (tmp_path / "runs" / "wider" / "policy.json").is_file()


def test_data(tmp_path: Path) -> None:
    printed = follow("docs/data.md", tmp_path)
    assert "note: the dense network is at chance" in " ".join(printed[1].split())
    assert "note: the data has no labels" in " ".join(printed[2].split())


def test_device(tmp_path: Path) -> None:
    printed = follow("docs/device.md", tmp_path)
    assert any(each["name"] == "rpi4-1t" for each in json.loads(printed[1]))
    assert (tmp_path / ".automl" / "tables").is_dir()


def test_budgets(tmp_path: Path) -> None:
    printed = follow("docs/budgets.md", tmp_path)
    assert "70% and 80%size" in printed[1]
    text = (ROOT / "docs/budgets.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*`) \| ([\w-]+) \|", text, re.MULTILINE)
    called = {"latency": "latency", "multiply-accumulates": "macs", "size": "bytes"}
    assert {limits for _, limits in rows} == called.keys()
    for written, limits in rows:
        for limit in re.findall(r"`([^`]+)`", written):
            assert parse_budget(limit).quantity == called[limits]
    said = str(InfeasibleError(Budget((Limit("latency", 1e-5),)), {"latency": 2e-3}))
    assert said in text


def test_choices(tmp_path: Path) -> None:
    printed = follow("docs/choices.md", tmp_path)
    assert "rank-spatial" in printed[1]


def test_proxies(tmp_path: Path, home: Path) -> None:
    printed = follow("docs/proxies.md", tmp_path, home)
    assert "measured latency" in printed[0]


def test_delivery(tmp_path: Path, home: Path) -> None:
    printed = follow("docs/delivery.md", tmp_path, home)
    assert "source: smaller.py (largest difference from PyTorch" in printed[1]
    assert printed[2].endswith(" parameters\n")
    assert "measured latency" in printed[4]


def test_recovery(tmp_path: Path, home: Path) -> None:
    printed = follow("docs/recovery.md", tmp_path, home)
    assert "note: recovery by kd, " in " ".join(printed[1].split())


def test_readme(tmp_path: Path, home: Path) -> None:
    printed = follow("README.md", tmp_path, home)
    assert any("measured latency" in text for text in printed)


def test_python(tmp_path: Path) -> None:
    printed = follow("docs/python.md", tmp_path)
    assert len(printed) == 6
    assert "trials: expected a whole number from 1 on, found 0" in printed[-1]


def test_cluster(tmp_path: Path) -> None:
    given = next(fence for fence in fences("docs/python.md") if fence.file == "networks.py")
    (tmp_path / "networks.py").write_text(given.text, encoding="utf-8")
    printed = follow("docs/cluster.md", tmp_path)
    assert "2 searches: 2 complete" in printed[0]
    assert all("2 of them were finished before" in text for text in printed[1:3])
    assert [row["state"] for row in json.loads(printed[3])["rows"]] == ["COMPLETE"] * 2
    assert "channels:" in printed[-1]  # a policy of the searcher's


def elsewhere(file: str) -> str:
    """A file of docs/cluster.md that cannot be used here."""
    (text,) = [each.text for each in fences("docs/cluster.md") if each.elsewhere == file]
    return text


def test_every_command_of_the_cluster_page_is_run_or_marked() -> None:
    for fence in fences("docs/cluster.md"):
        if fence.language in {"sh", "yaml"}:
            assert fence.elsewhere is not None, fence.text
        elif fence.language == "python":
            assert fence.run, fence.text
    text = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    outside = FENCE.sub("", text)
    assert not re.findall(r"^    (?:automl|ray|python) ", outside, re.MULTILINE)


def test_the_recipe_of_the_cluster_page_is_one(tmp_path: Path) -> None:
    from automl.sweep import make_recipe

    tables = [each for each in fences("docs/cluster.md") if each.language == "toml"]
    (text,) = [each.text for each in tables if not each.file]
    recipe = make_recipe(tomllib.loads(text), folder=tmp_path)
    assert len(recipe.cases) == 2 * 2 * 2 * 2 * 2


def test_the_clusters_file_is_one_by_rays_own_schema() -> None:
    ray = Path(importlib.util.find_spec("ray").submodule_search_locations[0])  # type: ignore
    schema = json.loads((ray / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(elsewhere("cluster.yaml")), schema)


def test_the_job_for_kubernetes_has_all_that_it_names() -> None:
    job = yaml.safe_load(elsewhere("sweep.yaml"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == version("ray")
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["image"]


def test_the_job_for_slurm_is_a_script_and_names_flags_that_ray_has() -> None:
    script = elsewhere("sweep.sbatch")
    checked = subprocess.run(["bash", "-n"], input=script, text=True, check=False)
    assert checked.returncode == 0
    start = shlex.split(script[script.index("srun ") :].replace("\\\n", ""))
    given = start[start.index("symmetric-run") + 1 : start.index("--")]
    flags = {word.partition("=")[0] for word in given if word.startswith("--")}
    own = {flag for each in symmetric_run.params for flag in each.opts}
    known = own | {flag for each in start_ray.params for flag in each.opts}
    assert flags <= known
    assert {"--address", "--min-nodes"} <= flags & own


#: What the README's Python takes for granted: a model with its data.
#: A network whose operators take longer than a call's own time, which no policy makes shorter.
GIVEN = """
from networks import loaders
from torch import nn

model = nn.Sequential(
    nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
    nn.Conv2d(64, 128, 3, stride=2, padding=1), nn.BatchNorm2d(128), nn.ReLU(),
    nn.Conv2d(128, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 4),
).eval()
training, validation, test = loaders()
"""


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (block,) = [fence.text for fence in fences("README.md") if fence.language == "python"]
    given = next(fence for fence in fences("docs/python.md") if fence.file == "networks.py")
    (tmp_path / "networks.py").write_text(given.text, encoding="utf-8")
    check = "assert not result.model.training\nassert result.compressed.measured_seconds > 0\n"
    (tmp_path / "block.py").write_text(GIVEN + block + check, encoding="utf-8")
    execute([sys.executable, "block.py"], tmp_path)


@pytest.mark.parametrize("target", ["search", "test"])
def test_make_targets(target: str) -> None:
    """The two commands of the README's first screen exist; what they run is tested elsewhere."""
    assert f"make {target}" in (ROOT / "README.md").read_text(encoding="utf-8")
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"search": "automl search", "test": "pytest"}[target] in done.stdout
