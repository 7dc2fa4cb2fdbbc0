"""Archives of others: looked at before they are unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from automl.errors import DataError
from automl.userdata.archives import members


def test_the_members_of_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr("x", b"123")
    assert [(each.filename, each.file_size) for each in members(tmp_path / "a", DataError)] == [
        ("x", 3)
    ]


def test_what_nobody_writes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for kind, size, message in (
        (zipfile.ZIP_LZMA, 10, "compressed in an odd way"),
        (zipfile.ZIP_DEFLATED, 100_000_000, "far more than data do"),
    ):
        with zipfile.ZipFile(path, "w", kind) as archive:
            archive.writestr("x", bytes(size))
        with pytest.raises(DataError, match=message):
            members(path, DataError)
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read: File is not a zip file"):
        members(path, DataError)
