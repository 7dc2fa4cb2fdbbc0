"""What driver and workers must have alike."""

from __future__ import annotations

import hashlib
import importlib
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from automl.errors import ClusterError
from automl.study.origin import check_modules, check_versions, load_files, origin_here
from automl.userdata import executed_files, load_file

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
    driver = replace(origin_here(), **{name: "0.0.1"})  # type: ignore[arg-type]
    with pytest.raises(ClusterError, match=rf"{HOST} has {name} \S+ and the driver 0\.0\.1"):
        check_versions(driver)


def test_files_that_cannot_be_had_are_named_and_the_others_loaded(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.py" for name in ("other", "broken", "net", "missing")}
    for name in ("other", "broken", "net"):
        files[name].write_text("import no_module_of_mine\n" if name == "broken" else "WIDTH = 4\n")
    digests = {str(path): digest(path) for path in files.values() if path.exists()}
    driver = replace(
        origin_here(), files={str(files["missing"]): "", **digests, str(files["other"]): "0" * 64}
    )
    missing, other, broken = map(str, load_files(driver))
    assert f"{HOST} has no {files['missing']}: put it there" in missing
    assert f"{HOST} has another {files['other']} than the driver: its dig" in other
    assert f"{files['broken']} cannot be imported: ModuleNotFoundError" in broken
    assert str(files["net"]) in executed_files()
    assert str(files["other"]) not in executed_files()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_folders_that_the_driver_imports_from_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, gone = tmp_path / "mine", tmp_path / "gone"
    mine.mkdir()
    (mine / "parts_of_mine.py").write_text("WIDTH = 4\n")
    net = tmp_path / "net.py"
    net.write_text("from parts_of_mine import WIDTH\n")
    with monkeypatch.context() as driver:
        driver.syspath_prepend(str(mine))
        driver.syspath_prepend(str(gone))
        origin = replace(origin_here(), files={str(net): digest(net)})
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", list(before))
    assert not load_files(origin)
    assert sys.path == [*before, str(mine), str(tmp_path)]


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
