"""Files are written whole or not at all, and locked paths have one owner."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from automl.errors import LockedError
from automl.files import (
    common_folder,
    is_locked,
    locked,
    scratch_folder,
    wait_until_free,
    write_whole,
)


def test_the_folder_is_made(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b.txt", "grün\n")
    assert (tmp_path / "a" / "b.txt").read_text(encoding="utf-8") == "grün\n"


def test_a_failure_keeps_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "b.txt"
    write_whole(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["b.txt"]


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    write_whole(tmp_path / "c.bin", b"\r\n\xff")
    assert (tmp_path / "c.bin").read_bytes() == b"\r\n\xff"


KILLED = """
import os, sys
from pathlib import Path
from automl.files import common_folder, replacing, scratch_folder
with replacing(Path(sys.argv[1])) as temporary, scratch_folder() as folder, common_folder("a") as a:
    temporary.write_bytes(b"half")
    (folder / "model.onnx").write_bytes(b"half")
    (a / "prepared.pt").write_bytes(b"whole")
    if sys.argv[2:]:
        print("there", flush=True)
        sys.stdin.read()
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where all temporary files go."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr("tempfile.tempdir", None)
    return place


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, temporary: Path) -> None:
    path = tmp_path / "[a]" / "policy.json"
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    (left,) = path.parent.iterdir()
    assert len([*temporary.iterdir()]) == 2
    start, number = left.name.removesuffix(".automl").rsplit(".", 1)
    alive = left.with_name(f"{start}.{os.getppid()}.automl")
    alive.write_bytes(b"of another that runs")
    foreign = left.with_name(".policy.json.another-machine.1.automl")
    foreign.write_bytes(b"of another machine")
    mine = left.with_name(f".config.{number}")
    mine.write_bytes(b"of the user")
    before_us = left.with_name(f"{start}.{os.getpid()}.automl")
    before_us.write_bytes(b"of one in a container, with our number")
    write_whole(path.with_name("another.json"), "whole")
    assert {*path.parent.iterdir()} == {path.with_name("another.json"), alive, foreign, mine}
    with common_folder("b") as other, scratch_folder() as made:
        assert {*temporary.iterdir()} == {other, made}
    assert not [*temporary.iterdir()]


def test_what_is_shared_is_found_by_who_goes_on(tmp_path: Path, temporary: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "policy.json"], check=False)
    with common_folder("a") as again:
        assert (again / "prepared.pt").read_bytes() == b"whole"
    assert not [each for each in temporary.iterdir() if each == again]


def test_what_a_running_process_uses_stays(tmp_path: Path, temporary: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path / "policy.json", "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "there\n"
        used = {*temporary.iterdir()}
        with common_folder("a") as common, common_folder("b"), scratch_folder():
            assert common in used
        assert {*temporary.iterdir()} == used
        other.kill()
    with common_folder("b"), scratch_folder():
        assert not used & {*temporary.iterdir()}


@pytest.mark.parametrize("way", ["locks of folders", "files"])
def test_a_common_folder_goes_with_the_last_that_uses_it(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "files":
        monkeypatch.setattr("automl.files._FCNTL", None)
    with common_folder("a") as first:
        with common_folder("a") as second, scratch_folder():
            (first / "model").write_text("whole")
        assert (second / "model").read_text() == "whole"
    assert not [each for each in temporary.iterdir() if each.is_dir()]


def test_another_users_folder_is_not_used(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with common_folder("a") as path:
        pass
    path.symlink_to(temporary)
    with pytest.raises(OSError, match=r"Not a directory|symbolic link"), common_folder("a"):
        pass
    path.unlink()
    path.mkdir()
    monkeypatch.setattr("os.fstat", lambda _: os.stat_result((16832, 1, 1, 2, 4321, *[0] * 5)))
    with pytest.raises(PermissionError, match="belongs to another user"), common_folder("a"):
        pass


HOLDING = """
import sys, time
from pathlib import Path
from automl.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock of a path."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDING, path], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_the_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    with hold(tmp_path / "run") as holder:
        said = rf"run is in use by process {holder.pid} on \S+ since 20\d\d-"
        with pytest.raises(LockedError, match=said), locked(tmp_path / "run"):
            pass
        with locked(tmp_path / "other"):
            pass
        holder.kill()
    with locked(tmp_path / "run"):
        pass


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    with hold(tmp_path / "run") as holder:
        holder.kill()
        with locked(tmp_path / "run", 60.0):
            pass


def test_one_process_does_not_own_a_path_twice(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "run"),
        pytest.raises(LockedError, match=f"process {os.getpid()} "),
        locked(tmp_path / "run"),
    ):
        pass
    assert not (tmp_path / ".run.holder").exists()


def test_a_holder_elsewhere_may_be_gone(tmp_path: Path) -> None:
    """A disk without kernel locks keeps those of machines that crashed."""
    with locked(tmp_path / "run"):
        record = tmp_path / ".run.holder"
        record.write_text(re.sub('"host": "[^"]*"', '"host": "node7"', record.read_text()))
        with (
            pytest.raises(LockedError, match=r"on node7 .*is gone, delete \S+\.run\.lock"),
            locked(tmp_path / "run"),
        ):
            pass
        record.write_text("{")
        with (
            pytest.raises(LockedError, match="in use by another process"),
            locked(tmp_path / "run"),
        ):
            pass


def test_a_folder_is_locked_by_a_file_within(tmp_path: Path) -> None:
    with locked(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", ".holder"}
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    assert not is_locked(tmp_path / "missing" / "run")


def test_a_holder_is_waited_for_until_it_is_gone(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        wait_until_free(tmp_path, 0.0)  # gives up
        assert is_locked(tmp_path)
        threading.Timer(0.5, holder.kill).start()
        wait_until_free(tmp_path, 60.0)
        assert not is_locked(tmp_path)


def test_what_does_not_exist_is_free(tmp_path: Path) -> None:
    wait_until_free(tmp_path / "missing" / "run", 60.0)
    assert not list(tmp_path.iterdir())
