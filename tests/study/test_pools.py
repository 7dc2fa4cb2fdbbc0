"""The pool of a search's options, without a cluster; `test_ray_workers` has one."""

from __future__ import annotations

import importlib.util
import threading

import pytest

from automl.errors import DataError, UsageError
from automl.study import cluster
from automl.study.pools import WorkerSettings, open_pool, reached_workers
from automl.study.workers import LocalPool


def test_one_worker_needs_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    lock = threading.Lock()  # which could not be sent
    settings = WorkerSettings()
    with reached_workers(settings, score=lock), open_pool(lambda policy: 1.0, settings) as pool:
        assert isinstance(pool, LocalPool)
        assert pool.workers == 1


@pytest.mark.parametrize("settings", [WorkerSettings(2), WorkerSettings(1, "auto")])
def test_several_need_ray_and_it_is_said_what_to_install(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: importlib.util.find_spec(f"no_{name}"))
    with pytest.raises(UsageError) as error, open_pool(lambda policy: 1.0, settings):
        pass
    assert (
        str(error.value)
        == "scoring in several workers needs Ray: pip install 'automl-latency[ray]'"
    )


def test_what_cannot_be_sent_is_named_before_anything_is_started() -> None:
    lock = threading.Lock()

    def mine(model: object, batches: object) -> float:
        return float(lock.locked())

    said = "the score mine.py:mine cannot be sent to workers: .*lock"
    with (
        pytest.raises(DataError, match=said) as error,
        reached_workers(WorkerSettings(2), **{"model": 1, "score mine.py:mine": mine}),
    ):
        pass
    assert error.value.options == ("workers",)
