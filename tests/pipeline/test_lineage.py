"""Policies of stages, one relative to the other, become one relative to the dense network."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import request, task, write_table

from automl.errors import PolicyError
from automl.network import trace_network
from automl.pipeline import search
from automl.pipeline.lineage import composed, digest_of_policy
from automl.policy import Channels, Model


def test_counts_are_those_of_the_last_stage_of_the_dense_channels(tmp_path: Path) -> None:
    board = write_table(tmp_path / "board.jsonl")
    first = search(request(board, tmp_path / "run", "70%", resolutions=(), trials=2)).policy
    traced = trace_network(task().model, first.model.input_shape)
    name, count = next(iter(traced.network.dense_channels.items()))
    kept = first.channels[name].kept
    other = Model(name="x", fingerprint="y", input_shape=first.model.input_shape)
    less = {name: Channels(dense=kept, kept=kept - 1)}
    later = first.model_copy(update={"channels": less, "removed": (), "model": other})
    found = composed(traced, first, later)
    assert found.channels[name] == Channels(dense=count, kept=kept - 1)
    assert {key: found.channels[key] for key in first.channels if key != name} == {
        key: each for key, each in first.channels.items() if key != name
    }
    assert (found.removed, found.model) == (first.removed, first.model)
    assert digest_of_policy(found) != digest_of_policy(first)
    strange = later.model_copy(update={"channels": {"nowhere": Channels(dense=4, kept=2)}})
    with pytest.raises(PolicyError, match="'nowhere' that the dense model lacks"):
        composed(traced, first, strange)
