"""A policy is verified on a board over SSH, and what cannot be believed is refused in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sshd as servers
import tiny
from sshd import Sshd

from automl.errors import MeasureError, UsageError
from automl.pipeline import on_board, verify
from automl.pipeline.requests import VerifyRequest
from automl.policy.file import PolicyFile, read_policy, write_policy
from automl.profiling.device import Conditions
from automl.profiling.runner import Limits, Measurement, Probe, RuntimeInfo
from automl.profiling.ssh import COMMAND
from policy_files import policy_file

STATE = Conditions("Chip", 4, "performance", 1.8e9, 45.0, "15W", 1.8e9)


@pytest.fixture
def file() -> PolicyFile:
    network = tiny.tiny_network()
    model = policy_file().model.model_copy(
        update={"fingerprint": network.fingerprint, "input_shape": tiny.SHAPE}
    )
    plain: dict[str, Any] = {"channels": {}, "bits": {}, "removed": (), "resolution": 12}
    return policy_file().model_copy(update={**plain, "further": {}, "model": model})


@dataclass
class Board:
    """Takes 2 ms and 1 ms, or says why not."""

    error: str = ""
    lost: str = ""
    info: RuntimeInfo = RuntimeInfo("onnxruntime", "1.2", 1, "aarch64", STATE)  # noqa: RUF009

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        yield Measurement(0, 2e-3, 0.01, 9, self.error)
        if self.lost:
            raise MeasureError(self.lost)
        yield Measurement(1, 1e-3, 0.01, 9)


def asked(
    board: Board, file: PolicyFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> VerifyRequest:
    monkeypatch.setattr(on_board, "open_runner", lambda request, stack: board)
    write_policy(file, folder / "policy.json")
    table = tiny.write_table(folder / "board.jsonl")
    return VerifyRequest(
        tiny.task(), file, str(table), ssh=("me@board",), write=folder / "policy.json"
    )


def test_what_was_measured_goes_into_the_policy(
    file: PolicyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = verify(asked(Board(), file, tmp_path, monkeypatch))
    assert (result.dense.measured_seconds, result.compressed.measured_seconds) == (2e-3, 1e-3)
    found = read_policy(tmp_path / "policy.json")
    assert found.measured == result.measured is not None
    assert found.measured is not None
    assert (found.measured.device, found.measured.runtime) == ("Chip", "onnxruntime 1.2")
    assert found.measured.clocks == "governor performance, up to 1.80 GHz"
    assert found.model_copy(update={"measured": None}) == file


@pytest.mark.parametrize(
    ("board", "said"),
    [
        (
            Board(error="Unsupported model IR version: 10, max supported IR version: 9"),
            r"onnxruntime 1\.2 is older than the file \(opset \d+, IR version \d+\)",
        ),
        (Board(error="no kernel for Conv"), "^the runtime refuses dense: no kernel for Conv"),
        (Board(lost="me@board: the connection was lost"), "^me@board: the connection was lost$"),
    ],
)
def test_a_board_that_does_not_measure_leaves_the_policy(
    board: Board, said: str, file: PolicyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = asked(board, file, tmp_path, monkeypatch)
    with pytest.raises(MeasureError, match=said) as told:
        verify(request)
    assert "\n" not in str(told.value)
    assert read_policy(tmp_path / "policy.json") == file


def test_what_cannot_be_measured_is_not_asked_for(file: PolicyFile, tmp_path: Path) -> None:
    table = str(tiny.write_table(tmp_path / "board.jsonl"))
    with pytest.raises(UsageError, match="one board"):
        verify(VerifyRequest(tiny.task(), file, table, ssh=("a", "b")))
    with pytest.raises(UsageError, match="nothing measured to write"):
        verify(VerifyRequest(tiny.task(), file, table, write=tmp_path / "policy.json"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if servers.missing():
        pytest.skip(servers.missing())
    found = servers.start(tmp_path_factory.mktemp("server"))
    yield found
    found.stop()


def test_a_real_board_is_measured_once_its_key_is_known(
    server: Sshd, file: PolicyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_board, "_SECONDS", 0.5)
    table = str(tiny.write_table(tmp_path / "board.jsonl"))
    request = VerifyRequest(tiny.task(), file, table, ssh=(server.host,), python=sys.executable)
    monkeypatch.setenv(COMMAND, server.command_with(tmp_path / "nobody"))
    with pytest.raises(MeasureError, match="ssh does not know its host key"):
        verify(request)
    monkeypatch.setenv(COMMAND, server.command)
    result = verify(request)
    assert result.measured is not None
    assert result.measured.runtime.startswith("onnxruntime ")
    assert result.measured.latency_seconds > 0
