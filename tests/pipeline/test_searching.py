"""Searches from a model to files, on a table of a made-up board."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import SHAPE, agreement, batches, model, request, task, write_table
from torch import Tensor, nn

from automl.errors import InfeasibleError, SpaceError, StudyError
from automl.export.onnx import onnx_bytes
from automl.latency.targets import find_table
from automl.network.traced_model import trace_network
from automl.pipeline import apply, search
from automl.pipeline.pricing import price_network
from automl.pipeline.requests import ApplyRequest, Event, SearchRequest, Task, ignore
from automl.policy.file import read_policy
from automl.userdata.data import Batches, Data
from automl.userdata.scores import top1_accuracy


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("tables") / "board.jsonl")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No thorough export (seconds each; tested by itself), no tables of the user's."""
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("automl.pipeline.results.export_onnx", quick_export)


def quick_export(
    model: nn.Module, shape: Sequence[int], path: Path, inputs: Tensor, *, half: bool, here: bool
) -> float:
    assert not half
    path.write_bytes(onnx_bytes(model, shape))
    return 0.0


def applied(request: SearchRequest, policy: Path, out: Path) -> dict[str, Tensor]:
    asked = ApplyRequest(request.task, read_policy(policy), out, seed=request.seed)
    return apply(asked).model.state_dict()


def stages(run: Path) -> list[str]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["stage"] for line in lines if "stage" in line]


def test_a_search_leaves_a_policy_its_model_and_the_front(board: Path, tmp_path: Path) -> None:
    asked = request(board, tmp_path / "run", "60%", seed=3)
    events: list[Event] = []
    result = search(asked, events.append)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"policy.json", "model.pt", "model.onnx", "front", "study.db", "log.jsonl"} <= names

    file = read_policy(result.policy_path)
    assert file == result.policy
    assert (file.seed, file.agent, file.budget) == (3, "lagrangian", ("60%",))
    assert file.target.table_digest == find_table(board).digest
    assert file.scored_on == result.scored_on == "4 test inputs"
    assert file.score == result.compressed.score

    predicted, dense = result.compressed.predicted_seconds, result.dense.predicted_seconds
    assert predicted is not None
    assert dense is not None
    assert predicted <= 0.6 * dense
    assert result.compressed.measured_seconds is None  # another device
    assert "the dense model meets this budget already" not in result.notes

    stored = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    made = applied(asked, result.policy_path, tmp_path / "again.pt")
    assert stored.keys() == made.keys()
    assert all(torch.equal(value, made[name]) for name, value in stored.items())
    assert stages(tmp_path / "run")[:2] == ["reading the network", "calibrating"]
    assert events[-1].stage == "done"


def test_policies_are_priced_again_to_what_they_say(board: Path, tmp_path: Path) -> None:
    asked = request(board, tmp_path / "run", "60%")
    search(asked)
    traced = trace_network(asked.task.model, SHAPE, resolutions=asked.resolutions)
    priced = price_network(traced, asked, on_event=ignore)
    files = [tmp_path / "run" / "policy.json", *sorted((tmp_path / "run" / "front").iterdir())]
    assert len(files) > 1
    for path in files:
        file = read_policy(path)
        cost = priced.costs.cost(file.policy)
        assert cost.latency == pytest.approx(file.predicted.latency_seconds)
        assert (cost.macs, cost.bytes) == (file.predicted.macs, file.predicted.bytes)
        assert file.predicted.measured == pytest.approx(1.0)


def test_a_budget_that_cannot_be_met_is_refused_before_calibration(
    board: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    with pytest.raises(InfeasibleError, match="the least is"):
        search(request(board, tmp_path / "run", "0.1%"), events.append)
    assert {event.stage for event in events} == {"reading the network"}
    assert not (tmp_path / "run").exists()


def test_a_budget_that_the_dense_model_meets_is_said_so(board: Path, tmp_path: Path) -> None:
    asked = request(board, tmp_path / "run", "1s")
    result = search(asked)
    assert "the dense model meets this budget already" in result.notes
    assert result.compressed.score == result.dense.score
    assert result.compressed.macs == result.dense.macs
    assert result.trials == 0
    assert read_policy(result.policy_path).policy.removed == frozenset()


def test_work_is_limited_without_measuring_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl.pipeline.results.time_here", lambda *_: {})
    events: list[Event] = []
    result = search(request("cpu", tmp_path / "run", "50%MACs", round_to=None), events.append)
    assert result.compressed.macs <= 0.5 * result.dense.macs
    assert result.compressed.predicted_seconds is None
    assert len(find_table("cpu")) == 0
    assert not {"granularity", "measuring operators", "fitting overhead"} & {
        event.stage for event in events
    }


def test_a_search_goes_on_where_it_stopped(board: Path, tmp_path: Path) -> None:
    whole = search(request(board, tmp_path / "whole", "60%", agent="random", trials=5))
    asked = request(board, tmp_path / "run", "60%", agent="random", trials=2)
    search(asked)
    with pytest.raises(StudyError, match="resuming goes on with it"):
        search(asked)
    result = search(dataclasses.replace(asked, trials=5, resume=True))
    assert result.trials == whole.trials == 5
    assert result.policy.policy == whole.policy.policy
    assert result.compressed.score == whole.compressed.score


class Interrupting:
    """Ctrl-C while the third policy is scored."""

    def __init__(self, when: int) -> None:
        self.calls, self.when = 0, when

    def __call__(self, model: nn.Module, data: Iterable[tuple[Tensor, Any]]) -> float:
        self.calls += 1
        if self.calls == self.when:
            raise KeyboardInterrupt
        return agreement(model, data)


def test_ctrl_c_leaves_the_best_policy_until_then(board: Path, tmp_path: Path) -> None:
    stopped = dataclasses.replace(task(), score=Interrupting(4))  # the dense network is first
    result = search(request(board, tmp_path / "run", "60%", agent="random", trials=8, task=stopped))
    assert result.interrupted
    assert 2 <= result.trials < 8
    assert read_policy(result.policy_path).score == result.compressed.score
    assert (tmp_path / "run" / "model.pt").exists()


def test_ctrl_c_before_the_first_score_leaves_nothing(board: Path, tmp_path: Path) -> None:
    stopped = dataclasses.replace(task(), score=Interrupting(1))
    with pytest.raises(KeyboardInterrupt):
        search(request(board, tmp_path / "run", "60%", task=stopped))
    assert not (tmp_path / "run" / "policy.json").exists()


def test_granularity_is_learned_from_the_table(board: Path, tmp_path: Path) -> None:
    result = search(request(board, tmp_path / "run", "60%", round_to=None))
    widths = [group.kept for group in result.policy.channels.values()]
    assert all(width % 4 == 0 for width in widths)  # the board runs channels in fours


def test_one_calibration_and_one_validation_image_are_enough(board: Path, tmp_path: Path) -> None:
    few = dataclasses.replace(task(), data=Data(batches(1, 1), batches(2, 1)))
    result = search(request(board, tmp_path / "run", "60%", task=few))
    assert result.scored_on == "1 validation inputs"


def test_a_model_in_which_nothing_can_be_chosen_is_refused(board: Path, tmp_path: Path) -> None:
    rows = Batches(((torch.ones(2, 20), torch.ones(2, 4)),))
    alone = Task(nn.Linear(20, 4).eval(), Data(rows, rows), agreement, (1, 20), *"abc")
    with pytest.raises(SpaceError, match="nothing to choose"):
        search(request(board, tmp_path / "run", "50%MACs", task=alone, resolutions=None))


def labelled(*, wrong: int = 0) -> Task:
    """The tiny model with its own classes as labels, some of them wrong, judged by accuracy."""
    dense = model()

    def classes(data: Batches) -> Batches:
        with torch.no_grad():
            found = [(x, dense(x).argmax(1)) for x, _ in data]
        for _, targets in found:
            targets[:wrong] = (targets[:wrong] + 1) % 4
        return Batches(tuple(found))

    plain = task()
    data = Data(plain.data.calibration, classes(batches(2, 5, 1)), classes(batches(3, 4)))
    return dataclasses.replace(plain, data=data, score=top1_accuracy, score_name="top-1 accuracy")


def test_accuracy_of_one_class_ranks_by_logits_and_says_so(board: Path, tmp_path: Path) -> None:
    result = search(request(board, tmp_path / "run", "60%", task=labelled()))
    assert any("candidates are ranked by how near their logits" in note for note in result.notes)
    assert result.dense.score == 1.0
    assert result.compressed.score in (0.0, 0.25, 0.5, 0.75, 1.0)
    first = read_policy(tmp_path / "run" / "front" / "000.json")
    assert first.scored_on == "logits of 6 validation inputs, refitted on fewer images"
    assert first.score is not None
    assert first.score < 0.0


def test_accuracy_of_few_images_ranks_by_probabilities_and_says_so(
    board: Path, tmp_path: Path
) -> None:
    result = search(request(board, tmp_path / "run", "60%", task=labelled(wrong=1)))
    assert any("one of 6 validation inputs is 16.7 points" in note for note in result.notes)
    first = read_policy(tmp_path / "run" / "front" / "000.json")
    assert first.scored_on.startswith("probability of the right class of 6 validation inputs")
    assert first.score is not None
    assert first.score >= 0.0
