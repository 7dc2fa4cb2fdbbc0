"""The worker: how it times, what it answers, what it says of itself."""

from __future__ import annotations

import ast
import base64
import io
import json
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import automl.profiling
from automl.latency.keys import OpKey
from automl.profiling import worker, worker_products, worker_state
from automl.profiling.microbench import probe

WORKER = Path(automl.profiling.__file__).with_name("worker.py")


def test_the_worker_needs_its_runtime_only() -> None:
    tree = ast.parse(WORKER.read_text(encoding="utf-8"), feature_version=(3, 8))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    }
    assert names - sys.stdlib_module_names == {"numpy", "onnxruntime"}


def test_a_worker_that_nobody_asks_ends() -> None:
    with subprocess.Popen(
        [sys.executable, str(WORKER), "1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as worker:
        assert worker.wait(600) == -signal.SIGALRM  # the limit guards against a hang


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On a board the worker's files lie beside each other, without a package."""
    monkeypatch.setitem(sys.modules, "worker_products", worker_products)
    monkeypatch.setitem(sys.modules, "worker_state", worker_state)
    worker.runtime_named.cache_clear()
    yield
    worker.runtime_named.cache_clear()


class Clock:
    """A runtime whose models take the seconds that are written in them."""

    on_processor = False
    refusals = (ValueError,)
    version = "1"

    def __init__(self) -> None:
        self.runs: list[str] = []

    def load(self, model: bytes, threads: int, resources: Any) -> Any:
        text = model.decode()
        seconds = float(text)  # refuses what is no number
        resources.callback(self.runs.append, f"freed {text}")

        def run(repeats: int) -> float:
            self.runs.append(text)
            if seconds < 0:
                raise ValueError("cannot run")
            return seconds

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setitem(worker.RUNTIMES, "clock", lambda: found)
    return found


def packed(model: bytes) -> str:
    return base64.b64encode(zlib.compress(model)).decode()


def asked(*probes: tuple[list[bytes], list[float]], **more: Any) -> dict[str, Any]:
    settings = {"spread": 0.03, "seconds": 60.0, "pass_seconds": 1e-3} | more
    return {
        **{"id": 1, "runtime": "clock", "threads": 1, "min_passes": 3, "max_passes": 5},
        **settings,
        "probes": [
            {"models": [packed(model) for model in models], "weights": weights}
            for models, weights in probes
        ],
    }


def answers(request: dict[str, Any]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    worker.measure(request, lines.append)
    return lines


def test_a_probe_is_the_weighted_sum_of_its_models(clock: Clock) -> None:
    found, done = answers(asked(([b"0.9", b"0.5"], [0.5, -0.5])))
    assert found["seconds"] == pytest.approx(0.2)
    assert found["spread"] == 0.0
    assert found["runs"] == 3 * 2  # three passes of one run each
    assert done["done"]


def test_what_takes_less_than_nothing_takes_a_nanosecond(clock: Clock) -> None:
    found, _ = answers(asked(([b"0.5", b"0.9"], [1.0, -1.0])))
    assert found["seconds"] == 1e-9


def test_models_are_timed_in_turn_and_freed_at_the_end(clock: Clock) -> None:
    answers(asked(([b"1"], [1.0]), ([b"2"], [1.0])))
    assert clock.runs[-8:] == ["1", "2"] * 3 + ["freed 2", "freed 1"]


def test_short_models_fill_a_pass(clock: Clock) -> None:
    found, _ = answers(asked(([b"0.0001"], [1.0])))
    assert found["runs"] == 3 * 10


@pytest.mark.parametrize(("warm", "runs"), [(4e-3, 5), (2e-3, 5), (9e-3, 2), (0.1, 1), (1e-4, 10)])
def test_a_pass_is_long_enough_for_caches_and_short_enough_for_slow_boards(
    warm: float, runs: int
) -> None:
    assert worker.warm_up(lambda _: warm, 1e-3) == runs


def test_what_other_probes_put_out_of_the_caches_is_timed_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    last: list[bytes] = []

    class Cached(Clock):
        """A model's first runs after another model's take three times and once and a half."""

        def load(self, model: bytes, threads: int, resources: Any) -> Any:
            def run(repeats: int) -> float:
                cold = [3.0, 1.5, 1.2, 1.0] if last[-1:] != [model] else [1.0]
                last.append(model)
                return float(model) * min((cold + [1.0] * repeats)[:repeats])

            return run

    monkeypatch.setitem(worker.RUNTIMES, "clock", Cached)
    found, _, done = answers(asked(([b"0.002", b"0.001"], [0.5, -0.5]), ([b"0.004"], [1.0])))
    assert found["seconds"] == pytest.approx(0.0005)
    assert done["done"]


def test_what_is_refused_leaves_and_the_rest_goes_on(clock: Clock) -> None:
    lines = answers(asked(([b"no number"], [1.0]), ([b"-1"], [1.0]), ([b"1"], [1.0])))
    errors = {line["probe"]: line["error"] for line in lines if "error" in line}
    assert errors == {
        0: "could not convert string to float: 'no number'",
        1: "cannot run",
    }
    assert [line["probe"] for line in lines if "seconds" in line] == [2]


def test_a_noisy_probe_is_passed_more_often_until_it_has_had_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Noisy(Clock):
        def load(self, model: bytes, threads: int, resources: Any) -> Any:
            times = iter(np.linspace(1.0, 9.0, 50))
            return lambda repeats: float(next(times))

    monkeypatch.setitem(worker.RUNTIMES, "clock", Noisy)
    found, _ = answers(asked(([b""], [1.0])))
    assert found["runs"] == 5
    assert found["spread"] > 0.03
    quick, _ = answers(asked(([b""], [1.0]), seconds=0.0))
    assert quick["runs"] == 3  # no time is left, but some passes there must be


def disturbed(monkeypatch: pytest.MonkeyPatch, *factors: float) -> None:
    """Models take their seconds times these factors, one a pass, after three runs to get warm."""

    class Disturbed(Clock):
        def load(self, model: bytes, threads: int, resources: Any) -> Any:
            times = iter([1.0, 1.0, *factors])
            return lambda repeats: float(model) * next(times)

    monkeypatch.setitem(worker.RUNTIMES, "clock", Disturbed)


def test_passes_in_which_others_had_the_core_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    disturbed(monkeypatch, 1.3, 1.0, 1.3, 1.002, 1.2, 1.001, 1.3)
    found, _ = answers(asked(([b"0.9", b"0.5"], [1.0, -1.0]), max_passes=7, min_passes=5))
    assert found["seconds"] == pytest.approx(0.4)
    # the third quickest came within 0.002 of each model's quickest
    assert found["spread"] == pytest.approx(1.5 * 0.002 * np.hypot(0.9, 0.5) / 0.4)
    assert found["runs"] == 2 * 6  # after five passes the third quickest was one that was disturbed


def test_a_pass_that_no_other_comes_near_is_not_believed_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disturbed(monkeypatch, *[1.3, 1.2, 1.0, 1.3], *[1.25] * 6)
    found, _ = answers(asked(([b"1"], [1.0]), max_passes=9))
    assert found["runs"] == 9
    assert found["spread"] == pytest.approx(1.5 * 0.25)


def test_no_probe_is_finished_before_others_may_have_left_the_core(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(np.arange(0.0, 1e3, 0.1))
    monkeypatch.setattr(worker.time, "perf_counter", lambda: float(next(now)))
    lines = answers(asked(([b"1"], [1.0]), max_passes=60))
    lines += answers(asked(([b"1"], [1.0]), max_passes=4, min_seconds=1.5))
    soon, late = [line["runs"] for line in lines if "runs" in line]
    assert soon == 3
    assert late > 5


def test_what_takes_long_tells_that_it_is_alive_once_a_second(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(np.arange(0.0, 1e3, 0.3))
    monkeypatch.setattr(worker.time, "perf_counter", lambda: float(next(now)))
    lines = answers(asked(*[([b"1", b"2"], [1.0, 1.0])] * 4, max_passes=3, spread=-1.0))
    alive = [line for line in lines if line == {"alive": True}]
    assert 3 <= len(alive) <= len(clock.runs) // 3
    assert [line["probe"] for line in lines if "seconds" in line] == [0, 1, 2, 3]


def test_a_processors_run_is_the_quickest_of_several() -> None:
    calls: list[int] = []
    run = worker.quickest(lambda: calls.append(1), threads=2)
    assert run(4) >= 0.0
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("platform", "threads", "seconds"), [("linux", 1, 1.0), ("linux", 2, 5.0), ("win32", 1, 5.0)]
)
def test_a_threads_own_time_counts_where_it_is_known_finely(
    monkeypatch: pytest.MonkeyPatch, platform: str, threads: int, seconds: float
) -> None:
    wall, thread = iter(range(0, 100, 5)), iter(range(100))
    monkeypatch.setattr(worker.sys, "platform", platform)
    monkeypatch.setattr(worker.time, "perf_counter", lambda: float(next(wall)))
    monkeypatch.setattr(worker.time, "thread_time", lambda: float(next(thread)))
    assert worker.quickest(lambda: None, threads)(3) == seconds


def test_it_says_hello_with_what_there_is_to_measure_with() -> None:
    line = worker.hello()
    assert line["onnxruntime"][0].isdigit()
    assert set(worker.RUNTIMES) <= set(line)
    assert line["state"]["processor"]


def test_requests_are_answered_in_lines_until_the_input_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = probe(OpKey("linear", 8, 8))
    request = asked((list(models.models), list(models.weights)), runtime="onnxruntime")
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request) + "\n"))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["worker.py"])
    worker.main()
    hello, answer, done = map(json.loads, out.getvalue().splitlines())
    assert hello["python"]
    assert (answer["id"], answer["probe"]) == (1, 0)
    assert answer["seconds"] > 0
    assert done["done"]
    assert 0.0 <= done["stolen"] <= 1.0
