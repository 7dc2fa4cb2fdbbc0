import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import request

from automl.cost import Cost
from automl.errors import StudyError
from automl.pipeline.known_scores import FILE, KnownScores
from automl.pipeline.requests import SearchRequest
from automl.policy import Policy
from automl.space import Space, Variable
from automl.study import Completed, Infeasible, Known

SPACE = Space((Variable("channels", "a", (8, 16)), Variable("channels", "b", (8, 16, 24))))
COST = Cost(1.0, 1.0, 1.0, 1.0)


@pytest.fixture
def asked(tmp_path: Path) -> SearchRequest:
    """A request whose folder is there."""
    return request("my-board", tmp_path, "50%")


def kept(asked: SearchRequest) -> KnownScores:
    """Scores of two studies: one policy was scored in both, one not at all."""
    scores = KnownScores(asked, SPACE)
    a, b = Policy({"a": 8, "b": 16}), Policy({"a": 16, "b": 8})
    scores.keep([Completed(0, a, COST, 1.0, 0.5, 40), Infeasible(1, Policy(), COST, 0.0)])
    scores.keep([Completed(0, b, COST, 1.0, 0.75), Completed(1, a, COST, 1.0, 0.5, 40)])
    return scores


def test_a_resumed_search_knows_them(asked: SearchRequest) -> None:
    scores = kept(asked).scores
    assert scores == (
        Known(Policy({"a": 8, "b": 16}), 0.5, 40),
        Known(Policy({"a": 16, "b": 8}), 0.75, None),
    )
    assert KnownScores(replace(asked, resume=True), SPACE).scores == scores


def test_a_search_that_begins_knows_none(asked: SearchRequest) -> None:
    kept(asked)
    assert KnownScores(asked, SPACE).scores == ()
    assert not (asked.out / FILE).exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("score", None), ("score", "high"), ("options", [0]), ("options", [0, 3]), ("images", -1)],
)
def test_a_file_that_no_such_search_wrote_is_refused(
    key: str, value: Any, asked: SearchRequest
) -> None:
    kept(asked)
    rows = json.loads((asked.out / FILE).read_text())
    (asked.out / FILE).write_text(json.dumps([rows[0] | {key: value}]))
    with pytest.raises(StudyError, match=FILE):
        KnownScores(replace(asked, resume=True), SPACE)


def test_a_file_that_was_cut_is_refused(asked: SearchRequest) -> None:
    kept(asked)
    path = asked.out / FILE
    path.write_text(path.read_text()[:-20])
    with pytest.raises(StudyError, match="ends early"):
        KnownScores(replace(asked, resume=True), SPACE)
