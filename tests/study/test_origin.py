"""What driver and workers must have alike."""

from __future__ import annotations

import importlib
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from automl.errors import ClusterError
from automl.study.origin import check_modules, check_versions, load_files, origin_here
from automl.userdata import load_file

HOST = socket.gethostname()


def test_the_same_process_has_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("WIDTH = 4\n")
    module = load_file(path)
    origin = origin_here()
    assert str(path.resolve()) in origin.files
    assert not any(name.startswith("_user_net") for name in origin.modules)
    assert not any(name.partition(".")[0] in ("automl", "torch", "os") for name in origin.modules)
    check_versions(origin)
    load_files(origin)
    check_modules(origin)
    assert load_file(path) is module


@pytest.mark.parametrize("name", ["automl", "torch"])
def test_another_version_is_refused_by_name(name: str) -> None:
    driver = replace(origin_here(), **{name: "0.0.1"})
    with pytest.raises(ClusterError, match=rf"{HOST} has {name} \S+ and the driver 0\.0\.1"):
        check_versions(driver)


def test_a_file_that_differs_or_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("WIDTH = 4\n")
    driver = replace(origin_here(), files={str(path): "0" * 64})
    with pytest.raises(ClusterError, match=rf"{HOST} has another {path} than the driver: its dig"):
        load_files(driver)
    path.unlink()
    with pytest.raises(ClusterError, match=rf"{HOST} has no {path}: put it there"):
        load_files(driver)


def test_an_imported_module_that_differs_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "layers_of_mine.py"
    path.write_text("WIDTH = 4\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("layers_of_mine")
    driver = origin_here()
    assert "layers_of_mine" in driver.modules
    check_modules(driver)
    path.write_text("WIDTH = 5\n")
    with pytest.raises(ClusterError, match=rf"another {path} than the driver"):
        check_modules(driver)


def test_packages_that_were_installed_apart_are_not_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `pip install --target` does, whose folder then stands in PYTHONPATH."""
    (tmp_path / "borrowed-1.0.dist-info").mkdir()
    (tmp_path / "borrowed_layers.py").write_text("WIDTH = 4\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("borrowed_layers")
    assert "borrowed_layers" not in origin_here().modules


def test_the_program_itself_is_another_in_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "program.py"
    path.write_text("")
    module = ModuleType("__mp_main__")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "__mp_main__", module)
    assert "__mp_main__" not in origin_here().modules
