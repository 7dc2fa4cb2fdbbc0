"""Addresses are shown without their passwords."""

from __future__ import annotations

import pytest

from automl.study.address import without_password


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
