"""What a search writes and says of what it found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import batches, model, request, task, write_table
from torch import Tensor, nn

from automl.errors import InfeasibleError, ModelError
from automl.pipeline import search
from automl.pipeline.results import write_front
from automl.policy.file import read_policy
from automl.userdata import checked_score
from automl.userdata.data import Data


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("tables") / "board.jsonl")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)


def test_a_shorter_front_takes_the_place_of_a_longer_one(board: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = search(request(board, run, "60%"))
    front = run / "front"
    numbered = {path.name for path in front.iterdir()}
    for name in ("007.json", "1000.json"):  # of an earlier and longer front
        (front / name).write_text((front / "000.json").read_text())
    (front / "notes.json").write_text("{}")
    search(request(board, run, "60%", resume=True))
    assert {path.name for path in front.iterdir()} == {*numbered, "notes.json"}
    write_front([result.policy], front)
    assert {path.name for path in front.iterdir()} == {"000.json", "notes.json"}
    assert read_policy(front / "000.json") == result.policy


def test_a_budget_that_is_met_leaves_no_front_of_another_search(
    board: Path, tmp_path: Path
) -> None:
    storage = f"sqlite:///{tmp_path / 'own.db'}"  # so that the folder may be taken again
    search(request(board, tmp_path / "run", "60%", storage=storage))
    assert list((tmp_path / "run" / "front").iterdir())
    search(request(board, tmp_path / "run", "1s", storage=storage))
    assert not list((tmp_path / "run" / "front").iterdir())


def test_an_export_that_is_refused_loses_nothing_else(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: bool) -> float:
        raise ModelError("the model cannot be exported to ONNX: no such operator")

    monkeypatch.setattr("automl.pipeline.results.export_onnx", refuse)
    with pytest.raises(ModelError, match="cannot be exported"):
        search(request(board, tmp_path / "run", "60%"))
    assert read_policy(tmp_path / "run" / "policy.json").scored_on == "4 test inputs"
    assert (tmp_path / "run" / "model.pt").exists()
    assert list((tmp_path / "run" / "front").iterdir())


def test_an_agent_without_a_warm_start_says_so(board: Path, tmp_path: Path) -> None:
    asked = request(board, tmp_path / "run", "60%", agent="uniform", warm_start=False)
    assert "uniform has no warm start to do without" in search(asked).notes


@pytest.mark.parametrize(("inputs", "said"), [(8, True), (16, False)])
def test_fewer_inputs_than_a_layer_needs_are_said(
    board: Path, tmp_path: Path, inputs: int, said: bool
) -> None:
    data = Data(batches(1, 8, 8), batches(2, 5, 1), batches(3, 4))
    asked = request(board, tmp_path / "run", "60%", task=dataclasses.replace(task(), data=data))
    notes = search(dataclasses.replace(asked, calibration=inputs)).notes
    note = (
        f"fewer calibration inputs than head need to be refitted freely: {inputs} of 16;"
        " such layers are held to their weights"
    )
    assert (note in notes) is said
    assert any("refitted freely" in each for each in notes) is said


def test_what_is_written_is_what_is_said(board: Path, tmp_path: Path) -> None:
    result = search(dataclasses.replace(request(board, tmp_path / "run", "60%"), seed=5))
    written = json.loads(result.policy_path.read_text())
    assert written["predicted"]["macs"] == result.compressed.macs
    assert written["dense"]["latency_seconds"] == result.dense.predicted_seconds
    assert written["seed"] == 5
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert result.trials == log.count('"trial"')


def test_a_search_says_what_its_agent_holds(board: Path, tmp_path: Path) -> None:
    result = search(request(board, tmp_path / "run", "80%", agent="uniform"))
    assert any(note.startswith("uniform does not choose block: held") for note in result.notes)


def test_a_search_that_ends_after_one_policy_says_why(board: Path, tmp_path: Path) -> None:
    def told(name: str, budget: str, **changed: Any) -> tuple[int, list[str]]:
        result = search(request(board, tmp_path / name, budget, **changed))
        return result.trials, [each for each in result.notes if each.startswith("one policy was")]

    with pytest.raises(InfeasibleError) as caught:
        search(request(board, tmp_path / "none", "0.001%"))
    least = caught.value.least["latency"] * 1.0001
    trials, said = told("least", f"{1e6 * least:.6f}us")
    assert trials == len(said) == 1
    assert " % of the dense latency: allow more" in said[0]
    assert told("limited", "60%", trials=1) == (1, [])
    assert told("random", "80%", agent="random", trials=3) == (3, [])


def test_a_best_that_is_at_chance_is_said_before_it_is_finished(
    board: Path, tmp_path: Path
) -> None:
    def weights(network: nn.Module) -> int:
        return sum(weight.numel() for weight in network.parameters() if weight.ndim > 1)

    dense = weights(model())

    def whole(network: nn.Module, batches: Iterable[Any]) -> float:
        """The dense network alone is right."""
        return float(weights(network) == dense)

    events: list[str] = []
    asked = request(
        board, tmp_path / "run", "60%", task=dataclasses.replace(task(), score=whole), trials=2
    )
    result = search(asked, lambda event: events.append(event.stage))
    assert result.notes[0].startswith("the best found is at chance: it scores 0 on validation")
    assert events.index(result.notes[0]) < events.index("finishing")
    fine = search(request(board, tmp_path / "fine", "60%", trials=2))
    assert not any("at chance" in note for note in fine.notes)


def near(network: nn.Module, data: Iterable[tuple[Tensor, Any]]) -> Tensor:
    """Minus the largest error of each input."""
    return torch.cat([-(network(x) - y).abs().amax(1) for x, y in data])


def test_a_score_an_input_has_its_errors_in_what_is_kept(board: Path, tmp_path: Path) -> None:
    asked = dataclasses.replace(task(), score=checked_score(near, "near"), score_name="near")
    result = search(request(board, tmp_path / "run", "60%", task=asked, resolutions=()))
    test = asked.judged_on
    small, dense = (near(each, test).detach().double().numpy() for each in (result.model, model()))
    kept = json.loads((tmp_path / "run" / "outcome.json").read_text())
    error = small.std(ddof=1) / len(small) ** 0.5
    assert kept["compressed"]["score_error"] == pytest.approx(error, rel=1e-3)
    paired = (small - dense).std(ddof=1) / len(small) ** 0.5
    assert kept["compressed"]["change_error"] == pytest.approx(paired, rel=1e-3)
    assert kept["dense"]["score_error"] == pytest.approx(0.0, abs=1e-6)
    assert kept["dense"]["change_error"] is None


def test_a_score_of_one_number_has_none(board: Path, tmp_path: Path) -> None:
    search(request(board, tmp_path / "run", "60%"))
    kept = json.loads((tmp_path / "run" / "outcome.json").read_text())
    for side in ("dense", "compressed"):
        assert kept[side]["score"] is not None
        assert kept[side]["score_error"] is None
        assert kept[side]["change_error"] is None
