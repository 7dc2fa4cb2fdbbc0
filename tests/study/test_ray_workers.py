"""Workers on a real cluster of this machine: the same result, whatever happens to them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import ray
from ray._private import services
from ray.cluster_utils import Cluster
from torch import nn

from automl.agents import make_agent
from automl.cost import Cost
from automl.errors import ClusterError
from automl.pipeline import Preparation
from automl.policy.policy import Policy
from automl.study import cluster, ray_workers
from automl.study.loop import StudyResult, StudySettings, run_study
from automl.study.pools import WorkerSettings, open_pool
from automl.study.problem import Completed, Failed, Problem, Trial
from automl.study.workers import Evaluate, LocalPool, ScoringPool
from automl.testing.agents import made_problem, sensitivity_of

PROBLEM = made_problem(9, seed=1)
#: A user's own file, which no worker can import by a name.
NET = """
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [3, 16, 16, 16, 16]
        pairs = zip(widths, widths[1:])
        self.body = nn.ModuleList(nn.Conv2d(*each, 3, padding=1) for each in pairs)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        for layer in self.body:
            x = F.relu(layer(x))
        return self.head(x.mean((2, 3)))


def network():
    torch.manual_seed(0)
    return Net()


def loaders():
    def batches(seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(4):
            inputs = torch.randn(64, 3, 16, 16, generator=generator)
            yield inputs, torch.randint(4, (64,), generator=generator)
    return list(batches(1)), list(batches(2))
"""


#: Of each machine's object store; Ray takes no less than 75 MB.
STORE_BYTES = 80_000_000


@pytest.fixture(scope="module", autouse=True)
def machines() -> Iterator[Cluster]:
    """One cluster for all tests of this file; it listens on this machine alone."""
    head = {"num_cpus": 2, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        # Ray puts the outer address in place of a loopback one, where nobody listens here.
        patch.setattr(services, "resolve_ip_for_localhost", lambda host: host)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Cluster(
            initialize_head=True, head_node_args={**head, "node_ip_address": "127.0.0.1"}
        )
        try:
            with cluster.connected(made.address):
                yield made
        finally:
            made.shutdown()


def additive(problem: Problem = PROBLEM) -> Evaluate:
    """A score that workers are sent as it is."""
    return lambda policy: -sensitivity_of(problem, policy)


def slow(folder: Path, seconds: float = 0.05) -> Evaluate:
    """The same; leaves the process that scored."""

    def evaluate(policy: Policy) -> float:
        (folder / str(os.getpid())).touch()
        time.sleep(seconds)
        return -sensitivity_of(PROBLEM, policy)

    return evaluate


def study(
    pool: ScoringPool,
    on_trial: Callable[[Trial, Completed | None], None] | None = None,
    problem: Problem = PROBLEM,
) -> StudyResult:
    agent = make_agent("random", problem, 3)
    return run_study(problem, agent, pool, StudySettings(trials=16, seed=3), on_trial)


def told(trials: Sequence[Trial]) -> list[Trial]:
    """All of the trials but their times, and costs, which may be no number."""
    free = Cost(*[0.0] * len(fields(Cost)))
    return [replace(trial, seconds=0.0, cost=free) for trial in trials]


def two(evaluate: Evaluate, seconds: float = 60.0) -> AbstractContextManager[ScoringPool]:
    return open_pool(evaluate, WorkerSettings(2, "auto", seconds))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Preparation:
    """A network, its data and its database, made from a user's file."""
    import automl
    from automl.userdata.models import load_model
    from automl.userdata.objects import load_object

    folder = tmp_path_factory.mktemp("user")
    (folder / "net.py").write_text(NET)
    spec = f"{folder / 'net.py'}:"
    return automl.prepare(
        load_model(spec + "network"),
        load_object(spec + "loaders")(),
        score="logits",
        target="rpi4-1t",
        budget="50%MACs",
        out=folder / "run",
    )


def test_one_worker_finds_bit_by_bit_what_this_process_finds(prepared: Preparation) -> None:
    """With early stopping, of a network that comes from a file."""
    problem = prepared.problem
    alone = study(LocalPool(prepared.evaluate), problem=problem)
    assert len({trial.images for trial in alone.trials if isinstance(trial, Completed)}) > 1
    assert ray_workers._known(prepared.evaluate, alone.trials[0].policy)
    forgetful = ray.cloudpickle.loads(ray.cloudpickle.dumps(prepared.evaluate))
    forgetful._values.clear()
    with open_pool(forgetful, WorkerSettings(1, "auto")) as pool:
        assert told(study(pool, problem=problem).trials) == told(alone.trials)
    with two(forgetful) as pool:
        found = study(pool, problem=problem).trials
    assert told(found) == told(study(LocalPool(prepared.evaluate, 2), problem=problem).trials)


def test_a_worker_that_is_killed_is_replaced_and_its_candidate_scored_again(
    tmp_path: Path,
) -> None:
    killed: list[int] = []

    def kill(trial: Trial, _: Completed | None) -> None:
        if trial.number in (3, 9):
            living = [int(path.name) for path in tmp_path.iterdir()]
            killed.append(next(pid for pid in living if pid not in killed))
            os.kill(killed[-1], signal.SIGKILL)

    with two(slow(tmp_path, 0.2)) as pool:
        broken = study(pool, kill)
    assert len(killed) == 2
    assert len(list(tmp_path.iterdir())) > 2
    assert told(broken.trials) == told(study(LocalPool(additive(), 2)).trials)


def test_a_machine_that_is_lost_is_done_without_and_its_candidate_scored_again(
    machines: Cluster, tmp_path: Path
) -> None:
    def evaluate(policy: Policy) -> float:
        (tmp_path / ray.get_runtime_context().get_node_id()).touch()
        time.sleep(0.2)
        return -sensitivity_of(PROBLEM, policy)

    holder = ray.remote(nn.Identity).options(num_cpus=1).remote()
    ray.get(holder.extra_repr.remote())  # so that one of two workers has to be elsewhere
    second = machines.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    lost: list[int] = []

    def lose(trial: Trial, _: Completed | None) -> None:
        if not lost and trial.number >= 3 and (tmp_path / second.node_id).exists():
            lost.append(trial.number)
            machines.remove_node(second, allow_graceful=False)  # kills its processes, by id
            ray.kill(holder)

    with two(evaluate) as pool:
        broken = study(pool, lose)
    assert lost
    assert lost[0] < 15
    assert told(broken.trials) == told(study(LocalPool(additive(), 2)).trials)


def test_what_hangs_dies_or_exits_fails_with_its_reason_and_the_rest_goes_on() -> None:
    usual = study(LocalPool(additive(), 2)).trials
    hangs, dies, exits = (usual[number].policy for number in (2, 6, 11))

    def evaluate(policy: Policy) -> float:
        if policy == hangs:
            time.sleep(600)
        if policy == dies:
            os._exit(1)
        if policy == exits:
            sys.exit("no more")
        return -sensitivity_of(PROBLEM, policy)

    with two(evaluate, seconds=2.0) as pool:
        found = study(pool).trials
    reasons = {trial.number: trial.reason for trial in found if isinstance(trial, Failed)}
    assert sorted(reasons) == [2, 6, 11]
    assert reasons[2] == "not scored within 2 s: given up"
    assert reasons[6].startswith("its worker died 3 times: ")
    assert reasons[11].startswith("it called sys.exit('no more')")
    assert [told([each]) for each in found if isinstance(each, Completed)] == [
        told([each]) for each in usual if each.number not in reasons
    ]


def test_ctrl_c_ends_a_study_that_waits_and_leaves_no_worker(tmp_path: Path) -> None:
    def press() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press, daemon=True)
    with two(slow(tmp_path, 600.0)) as pool:
        pressing.start()
        result = study(pool)
    pressing.join()
    assert result.interrupted
    assert not result.trials
    pids = [int(path.name) for path in tmp_path.iterdir()]
    patience = time.monotonic() + 30
    while any(map(lives, pids)) and time.monotonic() < patience:
        time.sleep(0.1)
    assert not any(map(lives, pids))


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


def test_a_worker_of_another_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = replace(ray_workers.origin_here(), automl="0.0.1")
    monkeypatch.setattr(ray_workers, "origin_here", lambda: driver)
    said = r"has automl \S+ and the driver 0\.0\.1: install one version on all machines"
    with pytest.raises(ClusterError, match=said), two(additive()) as pool:
        study(pool)


def test_a_worker_with_another_file_of_the_model_is_refused_by_name(
    prepared: Preparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = ray_workers.origin_here()
    (name,) = (name for name in driver.files if name.endswith("net.py") and "user" in name)
    other = replace(driver, files={name: "0" * 64})
    monkeypatch.setattr(ray_workers, "origin_here", lambda: other)
    with (
        pytest.raises(ClusterError, match=f"has another {name} than the driver"),
        two(prepared.evaluate) as pool,
    ):
        study(pool, problem=prepared.problem)


def test_files_of_earlier_searches_are_done_without(
    prepared: Preparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in one notebook: their folder may be gone, or what they import."""
    driver = ray_workers.origin_here()
    gone = replace(driver, files={str(tmp_path / "earlier.py"): "0" * 64, **driver.files})
    monkeypatch.setattr(ray_workers, "origin_here", lambda: gone)
    with two(prepared.evaluate) as pool:
        assert study(pool, problem=prepared.problem).trials


def test_workers_that_find_no_free_cpu_are_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "START_SECONDS", 1.0)
    holder = ray.remote(nn.Identity).options(num_cpus=2).remote()
    ray.get(holder.extra_repr.remote())
    said = r"no worker started within 1 s: 2 need a CPU each, and 0 are free"
    with pytest.raises(ClusterError, match=said), two(additive()) as pool:
        study(pool)
    ray.kill(holder)


def test_what_is_larger_than_the_object_store_lies_on_its_disk() -> None:
    ballast = np.ones(STORE_BYTES + 20_000_000, dtype=np.uint8)

    def evaluate(policy: Policy) -> float:
        return -sensitivity_of(PROBLEM, policy) * float(ballast[-1])

    with two(evaluate) as pool:
        found = study(pool).trials
    assert told(found) == told(study(LocalPool(additive(), 2)).trials)
