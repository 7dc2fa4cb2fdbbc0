"""A search in stages ends within its budget, goes on where it stopped, and its policy applies."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import request, task, write_table

from automl.errors import OptionError, PolicyError, StudyError
from automl.pipeline import ApplyRequest, Event, SearchRequest, SearchResult, apply, search
from automl.pipeline.lineage import digest_of_policy
from automl.policy import read_policy
from automl.report import read_run, write_report


def staged(out: Path, **changes: Any) -> SearchRequest:
    settings: dict[str, Any] = {"stages": 2, "recover": "kd:1", "resolutions": None, "trials": 2}
    board = out.parent / "board.jsonl"
    target = board if board.exists() else write_table(board)
    return request(target, out, "40%MACs", **settings | changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return search(staged(tmp_path_factory.mktemp("staged") / "run"))


def test_each_stage_takes_its_part_of_the_way(done: SearchResult) -> None:
    """At 40 % in two stages: sqrt(0.4) of the dense network, then what is left to 0.4."""
    first, last = (read_policy(done.out / f"stage-{number}" / "staged.json") for number in (1, 2))
    assert first.predicted.macs <= 0.4**0.5 * first.dense.macs
    assert first.predicted.macs > last.predicted.macs
    assert done.policy.predicted.macs <= 0.4 * done.policy.dense.macs
    assert done.compressed.macs == done.policy.predicted.macs
    assert done.policy.dense == first.dense


def test_a_policy_says_where_it_comes_from(done: SearchResult) -> None:
    first, last = (read_policy(done.out / f"stage-{number}" / "staged.json") for number in (1, 2))
    assert first.lineage is not None
    assert last.lineage is not None
    assert last.lineage.parent == digest_of_policy(first)
    assert done.policy.lineage is not None
    assert (done.policy.lineage.stage, done.policy.lineage.recovered) == (2, "kd:1")
    assert done.policy.model == first.model  # relative to the dense network
    assert (done.out / "model.onnx").is_file()


def test_its_report_is_of_the_whole(done: SearchResult) -> None:
    """From the dense network to what is delivered, with the page of each stage."""
    written = write_report([done.out])
    assert written.path == done.out / "report.html"
    assert len(written.runs) == 3
    assert written.problems == ()
    line = read_run(done.out)["line"]
    assert [each["stage"] for each in line] == [1, 2]
    assert line[-1]["cost"]["macs"] == done.policy.predicted.macs


def test_it_is_applied_from_the_weights_beside_it(done: SearchResult, tmp_path: Path) -> None:
    file, export = read_policy(done.policy_path), tmp_path / "small.onnx"
    wanted = ApplyRequest(task(), file, tmp_path / "model.pt", export=export, beside=done.out)
    made = apply(wanted)
    for name, value in done.model.state_dict().items():
        assert torch.equal(value, made.model.state_dict()[name]), name
    assert made.compressed.macs == made.compressed.counted_macs
    assert made.export_error is not None
    assert made.export_error < 1e-4
    with pytest.raises(PolicyError, match="made from the weights that its training left"):
        apply(replace(wanted, beside=tmp_path))
    (tmp_path / "staged.pt").write_bytes(b"else")
    with pytest.raises(PolicyError, match="other weights than those that stage 2"):
        apply(replace(wanted, beside=tmp_path))


def test_it_goes_on_after_it_was_ended(done: SearchResult, tmp_path: Path) -> None:
    """In the second stage's training: the first is not searched again, and the end is the same."""
    out, seen = tmp_path / "run", list[str]()

    def ending(event: Event) -> None:
        seen.append(event.stage)
        if event.stage == "recovering" and "stage 2 of 2" in seen:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(staged(out), ending)
    assert not (out / "policy.json").exists()
    again: list[str] = []
    found = search(staged(out, resume=True), lambda event: again.append(event.stage))
    assert "stage 1 of 2" not in again
    for name, value in done.model.state_dict().items():
        assert torch.equal(value, found.model.state_dict()[name]), name
    with pytest.raises(StudyError, match="holds a policy already"):
        search(staged(out))
    with pytest.raises(StudyError, match="of another search in stages"):
        search(staged(out, resume=True, recover="kd:2"))
    asked = staged(out, resume=True)
    other = copy.deepcopy(asked.task.model)
    with torch.no_grad():
        next(other.parameters()).mul_(1.1)
    with pytest.raises(StudyError, match="stage before, weights or data"):
        search(replace(asked, task=replace(asked.task, model=other)))


def test_what_stages_do_not_choose_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="stages choose among channels and blocks"):
        search(staged(tmp_path / "run", choices=("channels", "rank")))
    with pytest.raises(OptionError, match="are rounded after training"):
        search(staged(tmp_path / "run", precisions=("int8",)))


def test_plain_policies_have_no_lineage(tmp_path: Path) -> None:
    found = search(staged(tmp_path / "run", stages=1, recover="0"))
    assert "lineage" not in json.loads(found.policy_path.read_text())
