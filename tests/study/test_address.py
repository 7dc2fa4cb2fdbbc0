"""Addresses are shown without their passwords."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl.errors import StudyError
from automl.study.address import journal_file, without_password


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:hunter2@db.example/studies",
        "postgresql://me:hunter2/a@db.example/studies",
        "postgresql://me:a@hunter2@db.example/studies",
        "postgresql://me:a?hunter2@db.example/studies",
        "postgresql://db.example/studies?user=me&password=hunter2",
        "mysql+pymysql://me@db.example/studies?passwd=hunter2",
        "postgresql://me:hunter2@db.example:port/studies",
        "mysql://me:hunter2@[db.example/studies",
    ],
)
def test_passwords_are_not_shown(address: str) -> None:
    shown = without_password(address)
    assert "hunter2" not in shown
    assert shown.startswith(address.partition("://")[0])
    assert "***" in shown


@pytest.mark.parametrize(
    "address", ["sqlite:////tmp/a%20b.db", "postgresql://me@db.example:5432/studies", "study.db"]
)
def test_all_else_is(address: str) -> None:
    assert without_password(address) == address


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("journal:///studies.log", Path("studies.log")),
        ("journal:////disk/studies.log", Path("/disk/studies.log")),
        ("sqlite:///studies.db", None),
        ("postgresql://me@db.example/journal:", None),
    ],
)
def test_a_journal_is_a_file(address: str, path: Path | None) -> None:
    assert journal_file(address) == path


@pytest.mark.parametrize("address", ["journal:studies.log", "journal://studies.log", "journal:///"])
def test_a_journal_without_a_file_is_told_how_it_is_written(address: str) -> None:
    with pytest.raises(StudyError, match="is written as journal:///FILE"):
        journal_file(address)
