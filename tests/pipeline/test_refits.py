"""A refit that validation data says made things worse is left out, and the policy says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import batches, request, task, write_table
from torch import Tensor, nn

from automl.compression.config import CompressionConfig
from automl.compression.quantization.base import Quantizer
from automl.compression.reconstruction.base import FULL_REFIT, Candidate, RefitSettings
from automl.compression.reconstruction.registry import RECONSTRUCTIONS
from automl.pipeline import apply, refits, search
from automl.pipeline.refits import without_bad_refit
from automl.pipeline.requests import ApplyRequest
from automl.policy.policy import Policy
from automl.study.judging import Judgement
from automl.study.problem import Completed
from automl.userdata.data import Data
from automl.userdata.own_scores import OwnScore

FINISHED, BEFORE = nn.Identity(), nn.ReLU()
NOISE = np.random.default_rng(0).standard_normal(100)


def chosen(
    monkeypatch: pytest.MonkeyPatch,
    found: Judgement,
    other: Judgement,
    name: str = "least-squares",
    asked: tuple[float, float] | None = None,
) -> tuple[nn.Module, str, tuple[str, ...]]:
    """What is delivered, by what it was made, and what is said.

    Candidates are ranked by the score that was asked for where `asked` has none of its own.
    """
    judged = {(FINISHED, "ranked"): found, (BEFORE, "ranked"): other}
    if asked is not None:
        judged |= {(FINISHED, "asked"): Judgement(asked[0]), (BEFORE, "asked"): Judgement(asked[1])}
    monkeypatch.setattr(refits, "judge_each", lambda model, score, *_, **__: judged[model, score])
    task: Any = SimpleNamespace(score="ranked" if asked is None else "asked")
    cost: Any = None
    context: Any = SimpleNamespace(
        compressor=SimpleNamespace(
            config=CompressionConfig(reconstruction=name), make=lambda policy, finish: BEFORE
        ),
        ranking=SimpleNamespace(score="ranked"),
        evaluator=SimpleNamespace(validation=None),
        dense=SimpleNamespace(seconds=1.0),
    )
    trial = Completed(0, Policy(), cost, 1.0, 0.5, 100)
    model, config, notes = without_bad_refit(context, task, trial, FINISHED)
    return model, config.reconstruction, notes


def each(values: NDArray[np.float64]) -> Judgement:
    return Judgement(float(values.mean()), values)


@pytest.mark.parametrize(
    ("found", "other", "bad"),
    [
        (each(NOISE), each(NOISE + 0.1), True),
        (each(NOISE), each(NOISE - 0.1), False),
        (each(NOISE), each(NOISE), False),
        (each(NOISE), each(NOISE[::-1] + 0.1), False),  # by chance as likely as not
        (Judgement(0.5), Judgement(0.9), False),  # of one number nobody knows what is chance
        (each(NOISE[:9]), each(NOISE[:9] + 0.1), False),
    ],
)
def test_what_is_worse_by_more_than_chance_is_left_out(
    monkeypatch: pytest.MonkeyPatch, found: Judgement, other: Judgement, bad: bool
) -> None:
    model, name, notes = chosen(monkeypatch, found, other)
    assert (model is BEFORE, name == "raw", bool(notes)) == (bad, bad, bad)
    assert not bad or notes[0].startswith("the refit made it worse on the validation data (")


@pytest.mark.parametrize(("asked", "stays"), [((0.6, 0.5), True), ((0.5, 0.5), False)])
def test_where_the_score_that_was_asked_for_is_better_the_refit_stays(
    monkeypatch: pytest.MonkeyPatch, asked: tuple[float, float], stays: bool
) -> None:
    """Least squares make a network less sure of itself, which is not to be less often right."""
    model, *_ = chosen(monkeypatch, each(NOISE), each(NOISE + 0.1), asked=asked)
    assert (model is FINISHED) == stays


def test_nothing_is_judged_where_nothing_was_refitted(monkeypatch: pytest.MonkeyPatch) -> None:
    worse = each(NOISE), each(NOISE + 0.1)
    assert chosen(monkeypatch, *worse, name="raw") == (FINISHED, "raw", ())


class Spoiling:
    """Adds to the last bias."""

    def finish(
        self, candidate: Candidate, quantizer: Quantizer, settings: RefitSettings = FULL_REFIT
    ) -> nn.Module:
        *_, bias = (value for name, value in candidate.model.named_parameters() if "bias" in name)
        with torch.no_grad():
            bias[0] += 9.0
        return candidate.model


def near(network: nn.Module, data: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """How near the outputs are to the dense model's, input by input."""
    return torch.cat([-(network(x) - y).square().sum(1) for x, y in data])


def test_a_policy_whose_refit_is_left_out_says_so_and_is_made_so_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))
    point = EntryPoint("spoiling", f"{__name__}:Spoiling", "automl.reconstructions")
    monkeypatch.setattr(RECONSTRUCTIONS, "_added", {"spoiling": point})
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
    board = write_table(tmp_path / "board.jsonl")
    data = Data(batches(1, 8, 4), batches(2, 12), None)
    subject = replace(task(), score=OwnScore(near, "near"), data=data)
    found = search(request(board, tmp_path / "run", "60%", reconstruction="spoiling", task=subject))
    assert found.policy.made_with is not None
    assert found.policy.made_with.reconstruction == "raw"
    assert any(note.startswith("the refit made it worse") for note in found.notes)
    stored = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    again = apply(ApplyRequest(subject, found.policy, tmp_path / "again.pt")).model
    assert all(torch.equal(value, stored[name]) for name, value in again.state_dict().items())
    assert not any("differ from the search's" in note for note in found.notes)
