"""A machine that is not as the driver is refused by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from automl.errors import ClusterError
from automl.sweep.provenance import check_provenance, provenance_of
from automl.sweep.recipe import Case


@pytest.fixture
def case(tmp_path: Path) -> Case:
    (tmp_path / "net.py").write_text("def make(): ...\n")
    (tmp_path / "net.pt").write_bytes(b"weights")
    spec = f"{tmp_path}/net.py:make"
    values = {
        "model": spec,
        "weights": str(tmp_path / "net.pt"),
        "data": "automl.example.data:loaders",
    }
    return Case("c", values | {"score": "logits", "target": "s10-large", "budget": "50%"})


def test_files_and_modules_that_a_case_names_are_digested(case: Case, tmp_path: Path) -> None:
    found = provenance_of(case)
    assert set(found.digests) == {
        str(tmp_path / "net.py"),
        str(tmp_path / "net.pt"),
        "automl.example.data",
    }
    assert all(len(digest) == 64 for digest in found.digests.values())
    check_provenance(case, found)


def test_another_version_is_refused(case: Case) -> None:
    driver = dataclasses.replace(provenance_of(case), version="9.9")
    with pytest.raises(ClusterError, match=r"has automl 0\.\S+ and the driver 9\.9"):
        check_provenance(case, driver)


def test_a_file_that_differs_or_is_missing_is_refused(case: Case, tmp_path: Path) -> None:
    driver = provenance_of(case)
    (tmp_path / "net.pt").write_bytes(b"retrained")
    with pytest.raises(ClusterError, match=r"has another \S+/net.pt than the driver"):
        check_provenance(case, driver)
    (tmp_path / "net.pt").unlink()
    with pytest.raises(ClusterError, match=r"has no \S+/net.pt"):
        check_provenance(case, driver)
