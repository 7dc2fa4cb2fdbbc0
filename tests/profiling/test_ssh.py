"""The worker over a real sshd: what it answers, what it leaves, what can go wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sshd as servers
from sshd import Sshd

from automl.errors import MeasureError, UsageError
from automl.latency.keys import OpKey
from automl.profiling.microbench import probe
from automl.profiling.pool import PooledRunner
from automl.profiling.runner import Limits
from automl.profiling.ssh import COMMAND, Host, SSHRunner, parse_host

QUICK = Limits(spread=1.0, seconds=0.1, pass_seconds=1e-4, min_passes=3, max_passes=3)
PROBES = [probe(OpKey("linear", 8, width)) for width in range(8, 16)]

BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

needs_sshd = pytest.mark.skipif(bool(servers.missing()), reason=servers.missing())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    found = servers.start(tmp_path_factory.mktemp("sshd"))
    yield found
    found.stop()


@pytest.fixture
def board(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv(COMMAND, server.command)
    return parse_host(server.host)


def connect(host: Host, **more: object) -> SSHRunner:
    return SSHRunner(host, python=sys.executable, **more)  # type: ignore[arg-type]


def left_behind(server: Sshd) -> list[Path]:
    """What is in the board's temporary folder once it had time to tidy up."""
    for _ in range(3_000):  # five minutes guard against a hang
        if not list(server.temporary.iterdir()):
            break
        time.sleep(0.1)
    return list(server.temporary.iterdir())


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("pi@board", Host("pi@board")),
        ("board.local:2222", Host("board.local", 2222)),
        ("me@[fe80::1%eth0]:22", Host("me@fe80::1%eth0", 22)),
        ("me@[::1]", Host("me@::1")),
    ],
)
def test_hosts(text: str, host: Host) -> None:
    assert parse_host(text) == host


def test_a_board_is_named_without_who_logs_in() -> None:
    assert parse_host("pi@board").board == "board"
    assert parse_host("me@[::1]:22").board == "::1:22"
    assert str(parse_host("pi@board:2222")) == "pi@board:2222"


@pytest.mark.parametrize("text", ["", "-oProxyCommand=x", "a b", "pi@board:ssh", "pi@"])
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(UsageError, match="write user@host"):
        parse_host(text)


@needs_sshd
def test_it_answers_survives_and_leaves_nothing(server: Sshd, board: Host) -> None:
    with connect(board) as runner:
        assert runner.info.runtime == "onnxruntime"
        assert runner.info.conditions is not None
        assert runner.info.conditions.processor
        assert len(list(server.temporary.iterdir())) == 1
        found = []
        for measured in runner.run(PROBES, QUICK):
            found.append(measured.probe)
            if len(found) == 1:
                server.drop_connections()
        assert sorted(found) == list(range(len(PROBES)))
        assert runner.reconnections <= 1
        server.drop_connections()
        again = [measured.probe for measured in runner.run(PROBES[:3], QUICK)]
        assert sorted(again) == [0, 1, 2]
        assert runner.reconnections >= 1
        assert runner.state is not None
    assert left_behind(server) == []


@needs_sshd
def test_a_worker_that_ended_by_itself_is_started_again(
    server: Sshd, board: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl.profiling.ssh._IDLE", 1)
    with connect(board) as runner:
        assert left_behind(server) == []  # it has ended
        monkeypatch.setattr("automl.profiling.ssh._IDLE", 900)  # the next one may wait for us
        assert len(list(runner.run(PROBES[:2], QUICK))) == 2
        assert runner.reconnections == 1
    assert left_behind(server) == []


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, server: Sshd) -> Iterator[Sshd]:
    """Another board, which the first one's key opens."""
    found = servers.start(tmp_path_factory.mktemp("second"), key_of=server)
    yield found
    found.stop()


@needs_sshd
def test_two_boards_share_the_work(server: Sshd, second: Sshd, board: Host) -> None:
    other = parse_host(second.host)
    with PooledRunner([connect(board), connect(other)]) as pool:
        found = list(pool.run(PROBES, QUICK))
        assert sorted(measured.probe for measured in found) == list(range(len(PROBES)))
        assert all(measured.seconds > 0 for measured in found)
        assert {one.board for one in found} <= {board.board, other.board}
        each = list(pool.run_on_each(PROBES[:1], QUICK))
        assert sorted(one.board for one in each) == sorted((board.board, other.board))
        assert [runner.info.boot for runner in pool.boards.values()] == 2 * [BOOT]
    assert left_behind(server) == []
    assert left_behind(second) == []


@needs_sshd
def test_a_board_that_dies_in_the_middle_leaves_its_share(
    tmp_path: Path, server: Sshd, board: Host
) -> None:
    dying = servers.start(tmp_path, key_of=server)
    other = parse_host(dying.host)
    with PooledRunner([connect(board), connect(other, patience=0.5)]) as pool:
        found = []
        for measured in pool.run(PROBES * 4, QUICK):
            if not found:
                dying.stop()
            found.append(measured.probe)
        assert sorted(found) == list(range(4 * len(PROBES)))
        each = list(pool.run_on_each(PROBES[:1], QUICK))
        assert [one.board for one in each] == [board.board]
        assert list(pool.lost) == [other.board]
        assert "did not come back within" in pool.lost[other.board]
    assert left_behind(server) == []


@needs_sshd
def test_what_the_board_lacks_is_named(server: Sshd, board: Host) -> None:
    with pytest.raises(MeasureError, match="there is no /nowhere/python3"):
        SSHRunner(board, python="/nowhere/python3")
    with pytest.raises(
        MeasureError, match=r"the worker has no runtime 'nothing' \(there is: .*onnxruntime"
    ):
        connect(board, runtime="nothing")
    bare = server.folder / "bare_python"
    bare.write_text(
        f'#!/bin/sh\nif [ "$1" = -c ]; then exec {sys.executable} "$@"; fi\n'
        f'exec {sys.executable} -S -I "$@"\n'  # no site-packages, so no numpy
    )
    bare.chmod(0o755)
    with pytest.raises(MeasureError, match=r"ended with status 1: .*numpy"):
        SSHRunner(board, python=str(bare))
    assert left_behind(server) == []


@needs_sshd
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a full disk")
def test_a_full_disk_is_named(server: Sshd, board: Host) -> None:
    full = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(server.temporary)]
    if subprocess.run(full, check=False, capture_output=True).returncode:
        pytest.skip("no right to mount")
    try:
        with pytest.raises(MeasureError, match=r"temporary folder.*No space left on device"):
            connect(board)
        assert left_behind(server) == []
    finally:
        subprocess.run(["umount", str(server.temporary)], check=True)


@needs_sshd
def test_who_the_board_is(server: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = parse_host(server.host)
    unknown, other = tmp_path / "unknown", tmp_path / "other"
    kind, key, *_ = (server.folder / "key.pub").read_text().split()
    other.write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")
    for known, said in ((unknown, "does not know its host key"), (other, "is not the one")):
        monkeypatch.setenv(COMMAND, server.command_with(known))
        with pytest.raises(MeasureError, match=said):
            connect(host)
    monkeypatch.setenv(COMMAND, server.command.replace(str(server.folder / "key"), "/dev/null"))
    with pytest.raises(MeasureError, match="a key is needed that asks for no password"):
        connect(host)


@needs_sshd
def test_a_board_that_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = servers.start(tmp_path)
    monkeypatch.setenv(COMMAND, server.command)
    with connect(parse_host(server.host), patience=1.0) as runner:
        server.stop()
        with pytest.raises(MeasureError, match=r"refused.*did not come back within 1 s: the rows"):
            list(runner.run(PROBES, QUICK))
        with pytest.raises(MeasureError, match="refused"):
            connect(parse_host(server.host))


def test_without_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMAND, "/nowhere/ssh")
    with pytest.raises(MeasureError, match="/nowhere/ssh cannot be started"):
        SSHRunner(Host("board"))
