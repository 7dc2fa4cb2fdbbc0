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
from automl.files import is_locked, locked, scratch_folder, wait_until_free, write_whole


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
from automl.files import replacing, scratch_folder
with replacing(Path(sys.argv[1])) as temporary, scratch_folder() as folder:
    temporary.write_bytes(b"half")
    (folder / "model.onnx").write_bytes(b"half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    path = tmp_path / "[a]" / "policy.json"
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    (left,) = path.parent.iterdir()
    (folder,) = (tmp_path / "temporary").iterdir()
    alive = left.with_name(left.name.rpartition(".")[0] + f".{os.getppid()}")
    alive.write_bytes(b"of another that runs")
    foreign = left.with_name(".policy.json.another-machine.1")
    foreign.write_bytes(b"of another machine")
    write_whole(path, "whole")
    assert {*path.parent.iterdir()} == {path, alive, foreign}
    with scratch_folder() as made:
        assert [*(tmp_path / "temporary").iterdir()] == [made]
    assert not folder.exists()
    assert not made.exists()


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
