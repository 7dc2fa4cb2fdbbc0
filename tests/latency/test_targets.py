"""Finding tables by name, alias and path."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl.errors import TableError, TargetError
from automl.latency import host
from automl.latency.header import TableHeader
from automl.latency.keys import OpKey
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.latency.targets import (
    CPU,
    cpu_path,
    cpu_table,
    find_table,
    is_cpu_table,
    list_targets,
    table_folders,
    user_folder,
)

HEADER = TableHeader(
    name="my-board", aliases=("mine",), device="Board", runtime="ncnn", runtime_version="1"
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path))
    return tmp_path / "tables"


def test_by_name_alias_and_path(home: Path) -> None:
    path = home / "whatever.jsonl"
    LatencyTable.create(path, HEADER, [Row(OpKey("linear", 8, 8), 1e-6)])
    for name in ("my-board", "Mine", path, str(path)):
        assert len(find_table(name)) == 1


def test_the_users_table_goes_before_others(home: Path) -> None:
    assert table_folders()[:1] != (home,)
    LatencyTable.create(home / "a.jsonl", HEADER)
    assert table_folders()[0] == home
    LatencyTable.create(home / "b.jsonl", HEADER.model_copy(update={"device": "Other"}))
    assert find_table("my-board").header.device == "Board"


def test_an_unknown_target_names_the_nearest(home: Path) -> None:
    LatencyTable.create(home / "a.jsonl", HEADER)
    with pytest.raises(TargetError, match=r"no target 'my-bord' \(did you mean my-board"):
        find_table("my-bord")
    with pytest.raises(TargetError, match="there is no table at"):
        find_table(home / "nothing.jsonl")


def test_this_machine_has_a_table_per_number_of_threads(home: Path) -> None:
    one, two = find_table(CPU), find_table(CPU, threads=2)
    assert one.header.threads == 1
    assert one.path != two.path
    assert one.path == cpu_path()
    one.append([Row(OpKey("linear", 8, 8), 1e-6)])
    assert len(find_table(CPU)) == 1
    assert len(find_table(CPU, threads=2)) == 0


def test_another_runtime_version_is_another_table(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cpu_path()
    monkeypatch.setattr(host, "cpu_runtime_version", lambda: "9.9.9")
    assert cpu_path() != before
    assert "9.9.9" in cpu_path().name


def test_a_cut_off_line_in_our_own_table_is_dropped() -> None:
    path = find_table(CPU).path
    assert path is not None
    path.write_text(path.read_text() + '{"op": "lin')
    assert len(find_table(CPU)) == 0


def test_listing_reads_headers_only(home: Path) -> None:
    LatencyTable.create(home / "a.jsonl", HEADER, [Row(OpKey("linear", 8, 8), 1e-6)])
    with (home / "a.jsonl").open("a") as file:
        file.write("no row\n")
    targets = {target.name: target for target in list_targets()}
    assert next(iter(targets)) == CPU
    mine = targets["my-board"]
    assert (mine.device, mine.runtime, mine.rows) == ("Board", "ncnn 1", 2)
    with pytest.raises(TableError, match=r"a\.jsonl:3"):
        find_table("my-board")


def test_a_broken_table_is_listed_with_its_problem(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "broken.jsonl").write_text("nothing\n")
    targets = {target.name: target for target in list_targets()}
    assert "broken.jsonl:1" in targets["broken"].problem
    assert targets[CPU].problem == ""


def test_where_the_users_folder_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AUTOML_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "automl" / "tables"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert user_folder() == Path.home() / ".local" / "share" / "automl" / "tables"


def test_whose_a_table_is_is_told_without_making_one(home: Path) -> None:
    assert not is_cpu_table(find_table("rpi4"))
    assert not is_cpu_table(LatencyTable(HEADER))
    assert not home.exists()
    assert is_cpu_table(cpu_table(), 1)
    assert not is_cpu_table(cpu_table(), 2)
    assert [path.name for path in home.glob("*.jsonl")] == [cpu_path().name]


def test_a_home_that_cannot_be_written_stops_this_machine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "file"))
    table = find_table("rpi4")
    assert not is_cpu_table(table)
    assert any(target.name == "cpu" for target in list_targets())
    with pytest.raises(TableError, match="cannot be written"):
        find_table("cpu")


def test_no_home_at_all_stops_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("AUTOML_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert not is_cpu_table(find_table("rpi4"))
    assert any(target.name == "cpu" for target in list_targets())
    with pytest.raises(TargetError, match="set AUTOML_HOME"):
        find_table("cpu")
