"""What is lost with a driver or a node: no finished search, and no finished trial."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_sweeps import COMMON, MakeRecipe

from automl.sweep import Recipe, SearchRow, run_sweep
from automl.sweep.running import RECORD

# Ray's own code is not as strict as ours.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)
ROOT = Path(__file__).resolve().parents[2]
#: Searches that take long enough to be killed in the middle of.
LONG = {"agent": "random", "trials": 60, "full_scores": True}
GRID = {"budget": ["60%", "40%"], "seed": [0, 1]}


def wait_for(what: Callable[[], bool], seconds: float = 120.0) -> None:
    """Until it is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def records(out: Path) -> dict[str, int]:
    """Finished searches, with when each was recorded."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob(f"*/{RECORD}")}


def trials_begun(out: Path) -> bool:
    """Whether a search that is not finished has scored something."""
    done = records(out)
    return any(
        path.parent.name not in done and '"trial": 5' in path.read_text()
        for path in out.glob("*/log.jsonl")
    )


def scored(out: Path, case: str) -> list[int]:
    """Numbers of the trials in a search's log, one a trial that was scored."""
    lines = (out / case / "log.jsonl").read_text().splitlines()
    return [found["trial"] for found in map(json.loads, lines) if "trial" in found]


def check_whole(rows: tuple[SearchRow, ...], out: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Every search is as that of an unbroken sweep, and no trial was scored twice."""
    assert [row.case for row in rows] == [case.name for case in recipe.cases]
    for row in rows:
        assert row.state == "COMPLETE", row.reason
        assert scored(out, row.case) == list(range(row.trials))
    unbroken = run_sweep(Recipe(recipe.name, recipe.cases, str(tmp_path / "whole"), recipe.ray))
    assert [(row.score, row.trials) for row in rows] == [
        (row.score, row.trials) for row in unbroken.rows
    ]


@pytest.mark.parametrize("again", ["resumed", "started again"])
def test_a_driver_that_is_killed_loses_nothing(
    recipe: MakeRecipe, board: Path, tmp_path: Path, again: str
) -> None:
    out = tmp_path / "out"
    asked = recipe(out, common=LONG, grid=GRID)
    written = [f"{key} = {json.dumps(value)}" for key, value in {**COMMON, **LONG}.items()]
    grid = [f"{key} = {json.dumps(value)}" for key, value in GRID.items()]
    lines = ["[common]", *written, f'target = "{board}"', "[grid]", *grid]
    (tmp_path / "long.toml").write_text("\n".join(lines))
    words = [sys.executable, "-m", "automl", "sweep", "long.toml", "--ray", "local"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "search")}
    driver = subprocess.Popen(
        [*words, "--out", str(out)], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: bool(records(out)) and trials_begun(out))
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    before = records(out)
    assert before
    assert len(before) < len(asked.cases)
    result = run_sweep(asked, ray="local", resume=again == "resumed")
    assert result.skipped >= len(before)
    after = records(out)
    assert {name: after[name] for name in before} == before
    check_whole(result.rows, out, asked, tmp_path)


def test_a_node_that_is_killed_loses_nothing(
    recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private import services
    from ray.cluster_utils import Cluster

    # Ray puts the machine's outer address in place of a loopback one, where nobody listens here.
    monkeypatch.setattr(services, "resolve_ip_for_localhost", lambda host: host)
    out = tmp_path / "out"
    asked = recipe(out, common=LONG, grid=GRID)
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "node_ip_address": "127.0.0.1"},
    )
    second = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    killed: list[bool] = []

    def kill() -> None:
        wait_for(lambda: len(list(out.glob("*/study.db"))) >= 2 and trials_begun(out))
        cluster.remove_node(second, allow_graceful=False)
        killed.append(True)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        result = run_sweep(asked, ray=cluster.address)
        killer.join()
        assert killed
        check_whole(result.rows, out, asked, tmp_path)
    finally:
        killer.join()
        cluster.shutdown()
