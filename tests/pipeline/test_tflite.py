"""Whole networks timed in a runtime that takes .tflite files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from automl.errors import MeasureError, UsageError
from automl.pipeline import runners
from automl.pipeline.profiling import profile
from automl.pipeline.requests import Event, ProfileRequest
from automl.pipeline.tflite import read_networks
from automl.profiling.runner import Limits, Measurement, Probe, RuntimeInfo

NETWORK = b"\x1c\x00\x00\x00TFL3 and more"


class Board:
    """A device with LiteRT whose networks take as many milliseconds as they have bytes."""

    info = RuntimeInfo("litert", "2.3.0", 4, "aarch64")
    stolen, state = 0.0, None

    def __init__(self, *_: object, **__: object) -> None:
        return

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        for index, probe in enumerate(probes):
            if probe.models[0].endswith(b"broken"):
                yield Measurement(index, 0.0, 0.0, 0, "no such operator")
            else:
                yield Measurement(index, 1e-3 * len(probe.models[0]), 0.01, 9)


@pytest.fixture(autouse=True)
def board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(runners, "LocalRunner", Board)


def asked(path: Path) -> ProfileRequest:
    return ProfileRequest("my-board", None, (), ops=path, runtime="litert", threads=4)


def test_times_are_notes_and_no_rows(tmp_path: Path) -> None:
    (tmp_path / "b.tflite").write_bytes(NETWORK + b"..")
    (tmp_path / "a.tflite").write_bytes(NETWORK)
    events: list[Event] = []
    result = profile(asked(tmp_path), events.append)
    assert result.target == "my-board: LiteRT 2.3.0, threads 4, aarch64"
    assert [note.partition(" ±")[0] for note in result.notes[:2]] == [
        f"a.tflite: {len(NETWORK)}.0 ms",
        f"b.tflite: {len(NETWORK) + 2}.0 ms",
    ]
    assert "make no rows" in result.notes[-1]
    assert (result.asked, result.measured) == (0, 0)
    assert not result.table_path.exists()
    assert events[0].total == 2


def test_a_network_that_is_refused_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(NETWORK + b"broken")
    with pytest.raises(MeasureError, match=r"refuses a\.tflite: no such operator"):
        profile(asked(tmp_path / "a.tflite"))


def test_one_file_or_all_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.tflite", "a.tflite"):
        (tmp_path / name).write_bytes(NETWORK)
    (tmp_path / "notes.txt").write_text("not a network")
    assert list(read_networks(tmp_path, "LiteRT")) == ["a.tflite", "b.tflite"]
    assert read_networks(tmp_path / "b.tflite", "LiteRT") == {"b.tflite": NETWORK}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ops.json", "LiteRT times whole networks"),
        ("none.tflite", "No such file"),
        ("bad.tflite", "not a .tflite file"),
        ("", "no .tflite file in"),
    ],
)
def test_what_is_no_network_is_refused(tmp_path: Path, name: str, message: str) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    (tmp_path / "bad.tflite").write_bytes(b"not a model at all")
    ops = tmp_path / name if name else folder
    with pytest.raises(UsageError, match=message):
        profile(ProfileRequest("my-board", None, (), ops=ops, runtime="litert"))
