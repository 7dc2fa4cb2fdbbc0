"""`apply` makes the very model of the search again, bit for bit, or says why it does not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import SHAPE, agreement, model, write_table
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import automl
from automl.cli.main import run
from automl.pipeline.requests import SearchResult

Loader = DataLoader[tuple[Tensor, ...]]
Data = tuple[Loader, Loader]
#: How a user's training loader may draw its order.
ORDERS: dict[str, Callable[[], dict[str, Any]]] = {
    "in order": dict,
    "shuffling": lambda: {"shuffle": True},
    "its own generator": lambda: {
        "shuffle": True,
        "generator": torch.Generator().manual_seed(11),
    },
}


def loader(seed: int, count: int, **options: Any) -> Loader:
    generator, dense = torch.Generator().manual_seed(seed), model()
    inputs = torch.randn(count, *SHAPE[1:], generator=generator)
    with torch.no_grad():
        return DataLoader(TensorDataset(inputs, dense(inputs)), batch_size=8, **options)


def data(order: str = "shuffling", seed: int = 1) -> Data:
    return loader(seed, 40, **ORDERS[order]()), loader(2, 6)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)


def searched(board: Path, out: Path, parts: Data, **options: Any) -> SearchResult:
    settings: dict[str, Any] = {
        **{"budget": "60%", "trials": 2, "round_to": 4, "resolutions": (12, 16)},
        **{"seed": 5, "calibration": 24, "score": agreement},
    }
    return automl.search(
        model(),
        parts,
        target=str(board),
        out=out,
        **{**settings, **options},
    )


def made(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)
    return state


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) for name, value in one.items()
    )


@pytest.mark.parametrize("precisions", ["float", "int8"])
@pytest.mark.parametrize("order", ORDERS)
def test_the_very_model_is_made_again_from_python(
    order: str, precisions: str, tmp_path: Path
) -> None:
    names = ("fp32", "int8") if precisions == "int8" else ("fp32",)
    board, parts = write_table(tmp_path / "board.jsonl", *names), data(order)
    torch.rand(3)
    found = searched(board, tmp_path / "run", parts, precisions=precisions)
    assert bool(found.policy.bits) == (precisions == "int8")
    torch.rand(7)
    for number, source in enumerate((parts, data(order))):
        again = automl.apply(
            found.policy_path,
            model(),
            source,
            score=agreement,
            out=tmp_path / f"{number}.pt",
            seed=99,
            calibration=7,
        )
        assert same(made(tmp_path / f"{number}.pt"), made(found.out / "model.pt"))
        assert again.notes == ("made as in its search, with 24 calibration inputs, not 7",)
        assert again.compressed.score == found.compressed.score


def labelled(order: str) -> Data:
    """The same inputs with the dense network's classes."""
    parts = []
    for each in data("in order"):
        inputs, outputs = (torch.cat(several) for several in zip(*each, strict=True))
        classes = TensorDataset(inputs, outputs.argmax(1))
        parts.append(DataLoader(classes, batch_size=8, **ORDERS[order]()))
        order = "in order"
    return parts[0], parts[1]


@pytest.mark.parametrize("importance", ["taylor", "random:tries=2", "apoz"])
@pytest.mark.parametrize("compensation", [True, False])
def test_whatever_ranks_channels_ranks_them_so_again(
    importance: str, compensation: bool, tmp_path: Path
) -> None:
    board = write_table(tmp_path / "board.jsonl")
    asked = {"importance": importance, "compensation": compensation, "score": None}
    found = searched(board, tmp_path / "run", labelled("shuffling"), **asked)
    made_with = found.policy.made_with
    assert made_with is not None
    assert (made_with.importance, made_with.compensation) == (importance, compensation)
    out = tmp_path / "again.pt"
    again = automl.apply(found.policy_path, model(), labelled("shuffling"), out=out, seed=99)
    assert again.notes == ()
    assert same(made(out), made(found.out / "model.pt"))


def test_an_importance_without_its_labels_is_refused_before_anything_is_priced(
    tmp_path: Path,
) -> None:
    board, told = write_table(tmp_path / "board.jsonl"), list[str]()
    with pytest.raises(automl.AutomlError, match="taylor needs labels"):
        searched(
            board,
            tmp_path / "run",
            data(),
            importance="taylor",
            on_event=lambda event: told.append(event.stage),
        )
    assert told == ["reading the network"]


def test_other_inputs_are_noticed_and_said(tmp_path: Path) -> None:
    board = write_table(tmp_path / "board.jsonl")
    found = searched(board, tmp_path / "run", data())
    for number, other in enumerate((data(seed=8), data("in order"))):
        out = tmp_path / f"{number}.pt"
        again = automl.apply(found.policy, model(), other, score=agreement, out=out)
        (note,) = again.notes
        assert "calibration inputs are not those of the search" in note
        assert not same(made(out), made(found.out / "model.pt"))


def test_the_policy_of_a_dense_model_says_by_what_it_was_made_too(tmp_path: Path) -> None:
    board = write_table(tmp_path / "board.jsonl")
    found = searched(board, tmp_path / "run", data(), budget="100%")
    assert any("meets this budget already" in note for note in found.notes)
    again = automl.apply(found.policy_path, model(), data(), score=agreement, out=tmp_path / "0.pt")
    assert again.notes == ()
    assert same(made(tmp_path / "0.pt"), made(found.out / "model.pt"))


def test_a_policy_of_schema_1_is_made_as_is_asked_for_and_it_is_said(tmp_path: Path) -> None:
    board = write_table(tmp_path / "board.jsonl")
    found = searched(board, tmp_path / "run", data())
    content = json.loads(found.policy_path.read_text())
    del content["made_with"]
    old = tmp_path / "old.json"
    old.write_text(json.dumps({**content, "schema_version": 1}))
    for number, (calibration, equal) in enumerate(((24, True), (16, False))):
        out = tmp_path / f"{number}.pt"
        again = automl.apply(
            old, model(), data(), score=agreement, out=out, calibration=calibration
        )
        assert "does not say by what" in again.notes[0]
        assert same(made(out), made(found.out / "model.pt")) == equal


def test_a_method_that_is_not_here_is_named(tmp_path: Path) -> None:
    found = searched(write_table(tmp_path / "board.jsonl"), tmp_path / "run", data())
    content = json.loads(found.policy_path.read_text())
    content["made_with"]["importance"] = "theirs"
    found.policy_path.write_text(json.dumps(content))
    with pytest.raises(automl.AutomlError, match="no importance 'theirs'"):
        automl.apply(found.policy_path, model(), data(), score=agreement, out=tmp_path / "0.pt")


MINE = """
import random, sys
sys.path.insert(0, {tests!r})
import test_remaking
from test_remaking import model
from tiny import agreement

def loaders():
    return test_remaking.data({order!r})
"""


@pytest.mark.parametrize("order", ORDERS)
def test_the_very_model_is_made_again_from_the_command(
    order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board = write_table(tmp_path / "board.jsonl")
    (tmp_path / "mine.py").write_text(MINE.format(tests=str(Path(__file__).parent), order=order))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def call(*words: str) -> str:
        mine = ("--model", "mine.py:model", "--data", "mine.py:loaders")
        score = ("--score", "mine.py:agreement")
        monkeypatch.setattr(sys, "argv", ["automl", *words, *mine, *score])
        with pytest.raises(SystemExit) as ended:
            run()
        assert ended.value.code == 0, capsys.readouterr().err
        return capsys.readouterr().out

    words = f"--target {board} --budget 60% --trials 2 --out run --round-to 4"
    call(
        "search", *words.split(), *["--resolutions", "12,16", "--seed", "5", "--calibration", "24"]
    )
    for number, asked in enumerate(((), ("--seed", "9"), ("--calibration", "7"))):
        said = call("apply", "run/policy.json", "--out", f"{number}.pt", *asked)
        assert same(made(tmp_path / f"{number}.pt"), made(tmp_path / "run" / "model.pt"))
        assert ("not 7" in said) == ("7" in asked)
        assert "not those of the search" not in said


def test_chance_outside_goes_on_as_if_nothing_had_been_read(tmp_path: Path) -> None:
    board, before = write_table(tmp_path / "board.jsonl"), torch.random.get_rng_state()
    searched(board, tmp_path / "run", data())
    assert torch.equal(torch.random.get_rng_state(), before)
