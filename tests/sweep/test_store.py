"""A folder and an address hold the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from automl.errors import StudyError
from automl.sweep.store import ResultStore


@pytest.fixture(params=["folder", "address"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ResultStore:
    """An address of this machine's own disk goes the way of every address, through pyarrow."""
    folder = tmp_path / "results"
    return ResultStore(str(folder) if request.param == "folder" else folder.as_uri())


def test_files_are_written_and_read(store: ResultStore) -> None:
    store.check_writable()
    assert store.read("a/b.json") is None
    store.write("a/b.json", b"{}")
    store.write("a/b.json", b"[]")
    assert store.read("a/b.json") == b"[]"


def test_what_searches_share_goes_with_the_last_of_an_address(
    store: ResultStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with store.open_shared() as first:
        assert first.is_absolute()
        first.mkdir(exist_ok=True, parents=True)
        (first / "prepared").touch()
        with ResultStore(store.address).open_shared() as second:
            assert (second / "prepared").exists()
        assert (first / "prepared").exists()
    assert first.exists() == (store.folder is not None)


def test_a_folder_is_worked_in_and_found_again(store: ResultStore) -> None:
    with store.open_folder("case") as first:
        first.mkdir(parents=True, exist_ok=True)
        (first / "study.db").write_bytes(b"trials")
        store.keep_folder("case", first)
    assert first.exists() == (store.folder is not None)
    with store.open_folder("case") as again:
        assert (again / "study.db").read_bytes() == b"trials"
    assert store.read("case/study.db") == b"trials"


def test_what_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for address in (str(tmp_path / "file" / "results"), "nosuch://bucket/x"):
        with pytest.raises(StudyError, match=f"the results {address} cannot be written: .") as told:
            ResultStore(address).check_writable()
        assert "\n" not in str(told.value)


def test_what_is_broken_off_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import fs

    store = ResultStore((tmp_path / "results").as_uri())
    store.write("case/result.json", b"old")
    no_bytes: Any = "no bytes"
    with pytest.raises(StudyError, match="cannot be written"):
        store.write("case/result.json", no_bytes)
    assert store.read("case/result.json") == b"old"
    real = fs.copy_files

    def broken_off(source: str, destination: str, **options: Any) -> None:
        real(source, destination, **options)
        raise OSError("the power went")

    work = tmp_path / "work"
    (work / "front").mkdir(parents=True)
    (work / "result.json").write_bytes(b"new")
    (work / "front" / "000.json").write_bytes(b"{}")
    monkeypatch.setattr(fs, "copy_files", broken_off)
    with pytest.raises(StudyError, match="the power went"):
        store.keep_folder("case", work)
    assert store.read("case/result.json") == b"old"
    monkeypatch.undo()
    store.keep_folder("case", work)
    assert store.read("case/result.json") == b"new"
    assert store.read("case/front/000.json") == b"{}"
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["case"]
