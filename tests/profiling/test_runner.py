"""This machine as a runner: its worker times, refuses and goes on."""

from __future__ import annotations

import base64
import json
import os
import signal
import tracemalloc
import zlib
from collections.abc import Iterator

import numpy as np
import pytest

from automl.errors import MeasureError
from automl.latency.keys import OpKey
from automl.profiling.microbench import probe
from automl.profiling.runner import Asked, Limits, LocalRunner, Probe, request

QUICK = Limits(spread=1.0, seconds=0.1, pass_seconds=1e-4, min_passes=3, max_passes=3)


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    with LocalRunner() as found:
        yield found


def test_what_it_is(runner: LocalRunner) -> None:
    assert runner.info.runtime == "onnxruntime"
    assert runner.info.threads == 1
    assert runner.info.version[0].isdigit()


def test_probes_are_timed_and_refusals_named(runner: LocalRunner) -> None:
    good = probe(OpKey("linear", 64, 64))
    whole = Probe(good.models[:1], (1.0,))
    broken = Probe((b"no model",), (1.0,))
    found = {measured.probe: measured for measured in runner.run([good, broken, whole], QUICK)}
    assert sorted(found) == [0, 1, 2]
    assert found[1].error
    assert found[1].runs == 0
    assert found[2].seconds > found[0].seconds > 0
    assert found[2].runs >= 3
    assert 0 <= runner.stolen <= 1


def test_of_a_request_a_piece_is_encoded_at_a_time(runner: LocalRunner) -> None:
    sizes = (0, 1, 2, 3, 1 << 20, (1 << 20) + 1, 9_000_000, 2_000_000)
    models = [np.random.default_rng(size).bytes(size) for size in sizes]
    probes = [Probe(models[:5], (1.0,) * 5), Probe(models[5:], (0.5, 0.25, -1.0))]
    tracemalloc.start()
    largest = max(map(len, request(Asked(7, tuple(probes), QUICK, runner.info, ""))))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert largest < 2_000_000
    assert peak < 8_000_000  # less than the largest model
    asked = json.loads("".join(request(Asked(7, tuple(probes), QUICK, runner.info, ""))))
    assert (asked["id"], asked["runtime"], asked["threads"]) == (7, "onnxruntime", 1)
    assert [each["weights"] for each in asked["probes"]] == [[1.0] * 5, [0.5, 0.25, -1.0]]
    sent = [base64.b64decode(model) for each in asked["probes"] for model in each["models"]]
    assert [zlib.decompress(each) for each in sent] == models


def test_a_batch_that_was_left_early_does_not_disturb_the_next(runner: LocalRunner) -> None:
    probes = [probe(OpKey("linear", 64, 64))] * 3
    next(iter(runner.run(probes, QUICK)))
    assert [measured.probe for measured in runner.run(probes[:1], QUICK)] == [0]


def test_a_worker_that_ends_is_an_error() -> None:
    with LocalRunner() as runner:
        os.kill(runner.process_id, signal.SIGKILL)
        with pytest.raises(MeasureError, match="ended with status -9"):
            list(runner.run([probe(OpKey("linear", 8, 8))], QUICK))


def test_an_unknown_runtime_is_an_error() -> None:
    with pytest.raises(MeasureError, match=r"no runtime 'onnxrunime' \(did you mean onnxruntime"):
        LocalRunner(runtime="onnxrunime")
