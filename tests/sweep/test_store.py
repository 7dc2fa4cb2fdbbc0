"""A folder and an address hold the same."""

from __future__ import annotations

from pathlib import Path

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
    assert store.shared.is_absolute()


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
