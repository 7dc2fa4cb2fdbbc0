"""What is done with whole tables; what the command says of it is in tests/cli/test_tables.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import SHAPE, model, tiny_network, write_table

from automl.cost import required_keys
from automl.errors import TableError, TargetError
from automl.latency.header import TableHeader
from automl.latency.keys import OpKey, op_key
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.pipeline.requests import ProfileRequest
from automl.pipeline.tables import check_table, diff_tables, merge_tables, search_keys
from automl.space import build_space

HEADER = TableHeader(name="one", device="Board", runtime="onnxruntime", threads=1)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))


def write(path: Path, times: dict[int, float]) -> str:
    rows = [Row(OpKey("linear", 64, width), seconds, 0.02) for width, seconds in times.items()]
    LatencyTable.create(path, HEADER.model_copy(update={"name": path.stem}), rows)
    return str(path)


def test_tables_are_merged_into_a_file_of_its_own_name(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", {8: 1e-5, 16: 2e-5})
    two = write(tmp_path / "two.jsonl", {16: 2.5e-5, 32: 4e-5})
    with pytest.raises(TableError):
        merge_tables(one, two, tmp_path / "both.jsonl")
    found = merge_tables(one, two, tmp_path / "both.jsonl", prefer="second")
    assert (found.name, found.rows, found.first, found.second) == ("both", 3, 2, 2)
    merged = LatencyTable.read(found.path)
    assert merged.lookup([OpKey("linear", 64, 16)]).seconds[0] == 2.5e-5
    with pytest.raises(TargetError, match="nowhere"):
        merge_tables(one, "nowhere", tmp_path / "none.jsonl")


def test_tables_are_compared_by_their_names(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", {8: 1e-5, 16: 2e-5})
    two = write(tmp_path / "two.jsonl", {8: 1e-5, 16: 6e-5})
    found = diff_tables(one, two, worst=1)
    assert (found.first, found.second, found.unit) == ("one", "two", "seconds")
    assert found.comparison.shared == 2
    assert [each.key.out_channels for each in found.comparison.worst] == [16]


def test_a_table_is_checked_with_what_a_model_asks_of_it(tmp_path: Path) -> None:
    path = write_table(tmp_path / "board.jsonl")
    asked = ProfileRequest("board", model(), SHAPE, round_to=4, resolutions=(12, 16))
    found = check_table(str(path), asked)
    assert found.path == path
    assert found.coverage is not None
    assert found.coverage.measured == len(
        search_keys(LatencyTable.read(path), asked, tiny_network())
    )
    assert found.coverage.missing == 0
    assert found.unpriced == ()
    assert check_table(str(path)).coverage is None
    with pytest.raises(TargetError, match="nowhere"):
        check_table("nowhere")


def test_rows_that_no_device_can_have_measured_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "one.jsonl", {8: 1e-5, 16: 2e-5, 64: 3e-5})
    assert not check_table(path).impossible
    lines = Path(path).read_text().splitlines()
    Path(path).write_text("\n".join([*lines, lines[-1].replace("3e-05", "-1.0")]) + "\n")
    assert check_table(path).impossible


def test_a_search_asks_for_the_operators_of_its_space(tmp_path: Path) -> None:
    table = LatencyTable.read(write_table(tmp_path / "board.jsonl"))
    network = tiny_network()
    asked = ProfileRequest("board", model(), SHAPE, round_to=4, resolutions=(12, 16))
    expected = required_keys(network, build_space(network, round_to=4, resolutions=(12, 16)))
    assert set(search_keys(table, asked, network)) == set(expected)
    fixed = ProfileRequest("board", model(), SHAPE, round_to=64, resolutions=(), depth=False)
    assert set(search_keys(table, fixed, network)) == {op_key(layer) for layer in network.layers}
