"""The worker's loop with TensorRT against a replay made by hand (see `tensorrt_replay.py`)."""

from __future__ import annotations

import base64
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorrt_replay
from tensorrt_replay import Library, Session

from automl.profiling import worker, worker_tensorrt

REQUEST = {
    "runtime": "tensorrt",
    "threads": 1,
    "spread": 0.03,
    "seconds": 60.0,
    "pass_seconds": 0.003,
    "min_passes": 3,
    "max_passes": 5,
}


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    found = Session()
    monkeypatch.setattr(tensorrt_replay, "SESSION", found)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_replay.module("10.3.0"))
    monkeypatch.setitem(sys.modules, "worker_tensorrt", worker_tensorrt)
    monkeypatch.setitem(sys.modules, "worker_state", SimpleNamespace(state=dict))
    monkeypatch.setattr(worker_tensorrt, "cuda_python", lambda: None)
    monkeypatch.setattr(worker_tensorrt.ctypes, "CDLL", lambda name: Library())
    monkeypatch.delenv(worker_tensorrt.CACHE_VARIABLE, raising=False)
    worker.runtime_named.cache_clear()
    yield found
    worker.runtime_named.cache_clear()


def measure(*probes: tuple[list[bytes], list[float]]) -> list[dict[str, Any]]:
    """The worker's answers to a request with these models and weights."""
    packed = [
        {
            "models": [base64.b64encode(zlib.compress(model)).decode() for model in models],
            "weights": weights,
        }
        for models, weights in probes
    ]
    answers: list[dict[str, Any]] = []
    worker.measure(REQUEST | {"probes": packed}, answers.append)
    return answers


def test_a_difference_of_two_models_in_the_gpus_own_time(session: Session) -> None:
    session.milliseconds = {b"nine": 0.95, b"none": 0.5}
    answer, done = measure(([b"nine", b"none"], [1 / 9, -1 / 9]))
    assert answer["seconds"] == pytest.approx(0.45e-3 / 9, rel=1e-4)
    assert answer["spread"] == pytest.approx(0, abs=1e-4)
    assert answer["runs"] == 3 * (5 + 6)  # three passes of 3 ms or five runs, at 0.95 and 0.5 ms
    assert done["stolen"] == 0.0


def test_the_order_of_the_calls(session: Session) -> None:
    session.milliseconds = {b"model": 2.0}
    measure(([b"model"], [1.0]))
    names = session.names()
    built, first = names.index("build"), names.index("execute")
    assert names[:2] == ["cudaStreamCreate", "cudaEventCreate"]
    assert names.index("create_network") < built < names.index("cudaMalloc") < first
    assert names.index("cudaStreamSynchronize") < first
    timed = ["cudaEventRecord", "execute", "cudaEventRecord", "cudaEventSynchronize"]
    assert names[first - 1 : first + 4] == [*timed, "cudaEventElapsedTime"]
    warm_up = [1, 2]
    passes = [worker.WARM_RUNS] * 3
    assert names.count("execute") == sum(warm_up) + sum(passes)
    assert names.count("cudaEventSynchronize") == len(warm_up) + len(passes)
    assert names[-2:] == ["cudaFree", "cudaFree"]
    assert not session.memory
    assert ("create_network", 2) in session.calls  # bit 1: strongly typed
    assert ("workspace", worker_tensorrt.WORKSPACE) in session.calls


def test_models_of_all_probes_are_timed_in_turn(session: Session) -> None:
    session.milliseconds = {b"a": 50.0, b"b": 50.0, b"c": 50.0}
    measure(([b"a", b"b"], [1.0, -1.0]), ([b"c"], [1.0]))
    executed = [call[1] for call in session.calls if call[0] == "execute"]
    assert executed[-9:-6] == [b"a", b"b", b"c"]


@pytest.mark.parametrize(("dtype", "kind"), [("HALF", np.float16), ("FLOAT", np.float32)])
def test_inputs_are_filled_in_the_type_of_the_tensor(
    session: Session, dtype: str, kind: type[np.generic]
) -> None:
    session.milliseconds, session.dtype = {b"model": 1.0}, dtype
    measure(([b"model"], [1.0]))
    (copied,) = (call[1] for call in session.calls if call[0] == "copied")
    values = np.frombuffer(copied, kind)
    assert values.shape == (8,)
    assert 0.3 < float(np.abs(values.astype(np.float64)).mean()) < 2.0
    sizes = [call[2] for call in session.calls if call[0] == "cudaMalloc"]
    assert sizes == [values.nbytes] * 2


def test_refusals_are_named_and_the_rest_goes_on(session: Session) -> None:
    session.milliseconds = {b"good": 1.0, b"stops": -1.0, b"open": 1.0}
    session.refused = {b"bad": "In node 2 (Foo): unsupported"}
    session.violations = {b"hard"}
    answers = measure(
        *(([model], [1.0]) for model in (b"bad", b"hard", b"good", b"stops", b"open"))
    )
    errors = {line["probe"]: line["error"] for line in answers if "error" in line}
    assert errors == {
        0: "In node 2 (Foo): unsupported",
        1: "the network cannot be built: no tactic for node 3",
        3: "the engine does not run",
        4: "tensor 'input_0' has the open shape (-1, 8): export it with batch 1",
    }
    assert [line["probe"] for line in answers if "seconds" in line] == [2]
    assert "done" in answers[-1]
    assert not session.memory


def test_a_model_that_fails_on_the_way_leaves_and_the_rest_goes_on(session: Session) -> None:
    session.milliseconds = {b"good": 1.0, b"late": 1.0}
    session.lives = {b"late": 8}
    answers = measure(([b"late"], [1.0]), ([b"good"], [1.0]))
    assert answers[0] == {"probe": 0, "error": "the engine does not run"}
    assert answers[1]["probe"] == 1
    assert answers[1]["seconds"] == pytest.approx(1e-3)
    assert answers[2]["done"]
    assert not session.memory


def test_no_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_tensorrt.ctypes, "CDLL", lambda name: Library("cudaStreamCreate"))
    (refused, _) = measure(([b"model"], [1.0]))
    assert refused["error"] == "cudaStreamCreate: no CUDA-capable device is detected"


def test_no_cuda_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(worker_tensorrt.ctypes, "CDLL", missing)
    (refused, _) = measure(([b"model"], [1.0]))
    assert refused["error"].startswith("neither cuda-python nor libcudart is found")


def test_an_old_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_replay.module("8.5.2"))
    (refused, _) = measure(([b"model"], [1.0]))
    assert refused["error"] == "TensorRT 8.5.2 is too old: 10.0 or later is needed"


def test_a_model_is_built_once_and_not_kept_for_ever(session: Session) -> None:
    names = [b"again", *(b"model %d" % i for i in range(worker_tensorrt.PLANS))]
    session.milliseconds = dict.fromkeys(names, 1.0)
    measure(([b"again", b"again"], [1.0, -0.5]))
    measure(([b"again"], [1.0]))
    assert session.names().count("build") == 1
    measure(*(([name], [1.0]) for name in names[1:]))
    measure(([b"again"], [1.0]))
    built = [call[1] for call in session.calls if call[0] == "build"]
    assert built == [*names, b"again"]
    assert not session.memory


def test_timings_of_tactics_are_used_again(session: Session) -> None:
    session.milliseconds = {b"one": 1.0, b"two": 1.0}
    measure(([b"one"], [1.0]), ([b"two"], [1.0]))
    given = [call[1] for call in session.calls if call[0] == "create_timing_cache"]
    assert given == [b"", session.known_timings]


def test_timings_of_tactics_are_kept_in_a_file(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "timings"
    monkeypatch.setenv(worker_tensorrt.CACHE_VARIABLE, str(path))
    session.milliseconds = {b"one": 1.0}
    measure(([b"one"], [1.0]))
    assert path.read_bytes() == b"timings of this device"
    assert list(tmp_path.iterdir()) == [path]
    session.known_timings = b"timings of another device"
    session.calls.clear()
    worker.runtime_named.cache_clear()
    measure(([b"one"], [1.0]))
    given = [call[1] for call in session.calls if call[0] == "create_timing_cache"]
    assert given == [b"timings of this device", b""]  # refused, and begun anew
    assert path.read_bytes() == session.known_timings


def test_cuda_python_is_spoken_to_as_it_answers() -> None:
    class Bindings:
        @staticmethod
        def cudaMemcpyKind(kind: int) -> str:
            return f"kind {kind}"

        @staticmethod
        def cudaMemcpyAsync(*arguments: object) -> tuple[int]:
            assert arguments == (1, 2, 3, "kind 1", 4)
            return (0,)

        @staticmethod
        def cudaMalloc(size: int) -> tuple[int, int]:
            return (0, 1000 + size)

        @staticmethod
        def cudaFree(address: int) -> tuple[Any]:
            return (tensorrt_replay.Status.cudaErrorInvalidValue,)

    cuda = worker_tensorrt.CudaPython(Bindings)
    assert cuda.call("cudaMalloc", 8) == 1008
    assert cuda.call("cudaMemcpyAsync", 1, 2, 3, worker_tensorrt.HOST_TO_DEVICE, 4) is None
    with pytest.raises(worker_tensorrt.DeviceError, match="cudaFree: cudaErrorInvalidValue"):
        cuda.call("cudaFree", 1)
