"""Where a profile is measured, and the table that its rows go into."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from automl.errors import MeasureError, TargetError, UsageError
from automl.latency.header import TableHeader
from automl.latency.table import LatencyTable
from automl.pipeline import runners
from automl.pipeline.requests import ProfileRequest
from automl.pipeline.runners import (
    create_table,
    measured_table,
    open_runner,
    own_table,
    parse_hosts,
    provenance,
    table_path,
)
from automl.profiling.device import Conditions
from automl.profiling.runner import RuntimeInfo

STATE = Conditions("Chip", 4, "performance", 1.8e9, 45.4, "15W", 1.8e9)
ASKED = ProfileRequest("my-board", None, ())


@dataclass
class Board:
    """A device that is told apart by its host, and whether it was closed."""

    host: str = ""
    board: str = ""
    away: bool = False
    info: RuntimeInfo = RuntimeInfo("tensorrt", "10.3", 1, "aarch64", STATE)  # noqa: RUF009
    closed: list[str] = field(default_factory=list)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed.append(self.host)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path))
    return tmp_path / "tables"


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hosts whose connection was closed; "away" cannot be reached."""
    found: list[str] = []

    def connect(host: object, *_: object, **__: object) -> Board:
        if "away" in str(host):
            raise MeasureError(f"{str(host).split(':')[0]}: no route to host")
        return Board(str(host), str(host), closed=found)

    monkeypatch.setattr(runners, "SSHRunner", connect)
    monkeypatch.setattr(runners, "LocalRunner", lambda *_, **__: Board("here", closed=found))
    return found


def opened(*hosts: str) -> object:
    with ExitStack() as stack:
        return open_runner(replace(ASKED, ssh=hosts), stack)


def test_without_a_host_this_machine_measures(closed: list[str]) -> None:
    found = opened()
    assert isinstance(found, Board)
    assert found.host == "here"
    assert closed == ["here"]  # when the stack is left


def test_one_host_is_one_board_and_several_share_the_work(closed: list[str]) -> None:
    assert isinstance(opened("one"), Board)
    assert type(opened("one", "two")).__name__ == "PooledRunner"


def test_where_the_second_board_cannot_be_reached_the_first_is_closed(closed: list[str]) -> None:
    with pytest.raises(MeasureError, match=r"^away: no route to host \(of 2 boards.*: one\)"):
        opened("one", "away")
    assert closed == ["one"]


def test_boards_that_cannot_be_reached_are_all_named(closed: list[str]) -> None:
    with pytest.raises(MeasureError, match=r"away: no route.*; me@away: no route.*those.*: none"):
        opened("away:1", "me@away:2")


@pytest.mark.parametrize(
    "hosts", [("one", "one"), ("me@one", "you@ONE"), ("one", "two", "one:22"), ("[::1]", "x@[::1]")]
)
def test_a_board_that_is_named_twice_is_refused(closed: list[str], hosts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="are one board") as raised:
        opened(*hosts)
    assert raised.value.options == ("ssh",)
    assert closed == []
    assert len(parse_hosts(("one", "one:2222", "one:2223"))) == 3


def test_a_host_that_is_not_understood_connects_to_none(closed: list[str]) -> None:
    with pytest.raises(UsageError, match="write user@host"):
        opened("one", "two:x")
    assert closed == []


def test_a_table_is_a_file_or_lies_in_the_users_folder(home: Path) -> None:
    assert table_path("my-board") == home / "my-board.jsonl"
    assert table_path("here/t.jsonl") == Path("here/t.jsonl")
    for name in ("../board", "", "-a", "a b"):
        with pytest.raises(UsageError, match="is no name for a table"):
            table_path(name)


def test_the_users_own_table_is_found_by_name_and_alias(home: Path) -> None:
    assert own_table("my-board") is None
    header = TableHeader(name="mine", aliases=("alias",), device="d", runtime="tensorrt")
    LatencyTable.create(home / "mine.jsonl", header)
    for name in ("mine", "alias"):
        found = own_table(name)
        assert found is not None
        assert found.path == home / "mine.jsonl"


def test_a_table_that_was_shipped_is_not_written_to() -> None:
    with pytest.raises(TargetError, match="such as my-rpi4"):
        own_table("rpi4")


@pytest.mark.parametrize("change", [{"ssh": ("board",)}, {"runtime": "tensorrt"}])
def test_this_machine_is_no_board_and_has_one_runtime(change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="cpu is this machine with ONNX Runtime"):
        measured_table(replace(ASKED, target="cpu", **change))  # type: ignore[arg-type]
    here = measured_table(replace(ASKED, target="cpu", threads=2))
    assert here is not None
    assert here.header.threads == 2


def test_a_new_table_notes_its_runtime_and_the_boards_state(home: Path) -> None:
    request = replace(ASKED, runtime="tensorrt", ssh=("me@board",))
    table = create_table(request, Board())  # type: ignore[arg-type]
    header = LatencyTable.read(home / "my-board.jsonl").header
    assert header == table.header
    assert (header.device, header.runtime, header.runtime_version) == ("Chip", "tensorrt", "10.3")
    assert header.precisions == ("fp16",)
    assert header.power_mode == "15W"
    assert header.threads is None  # a GPU has none


def test_who_measured_is_told() -> None:
    board = Board()
    said = provenance(replace(ASKED, ssh=("a", "b")), board)  # type: ignore[arg-type]
    assert said == "measured over SSH on 2 boards by automl, 45 °C at the start"
    board.info = replace(board.info, conditions=None)
    assert provenance(ASKED, board) == "measured on this machine by automl"  # type: ignore[arg-type]
