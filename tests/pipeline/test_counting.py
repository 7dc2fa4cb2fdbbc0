"""What fvcore counts stands beside what the policy promised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny import request, task, write_table

from automl.network.traced_model import trace_network
from automl.pipeline import search
from automl.pipeline.counting import with_counts
from automl.pipeline.networks import network_of
from automl.pipeline.requests import Metrics
from automl.policy.policy import Policy


def promised(macs: float) -> Metrics:
    return Metrics(None, None, None, None, macs=macs, bytes=1.0)


def test_a_promise_that_holds_needs_no_word_and_one_that_does_not_is_said() -> None:
    traced = trace_network(task().model, task().input_shape, resolutions=())
    group = traced.network.groups[0]
    policy = Policy({group.name: group.partition})
    model, _ = network_of(traced, policy)
    macs = sum(layer.macs for layer in traced.network.shapes(dict(policy.channels)))
    dense = sum(layer.macs for layer in traced.network.layers)
    before, after, notes = with_counts(promised(dense), promised(macs), traced, model, policy)
    assert (before.counted_macs, after.counted_macs, notes) == (dense, macs, ())
    wrong = with_counts(promised(dense), promised(0.9 * macs), traced, model, policy)[2]
    assert len(wrong) == 1
    assert "fvcore counts" in wrong[0]


def test_a_search_tells_both(tmp_path: Path) -> None:
    board = write_table(tmp_path / "board.jsonl")
    result = search(request(board, tmp_path / "run", "60%MACs"))
    compressed = result.compressed
    assert compressed.counted_macs == pytest.approx(compressed.macs)
    assert result.dense.counted_macs == pytest.approx(result.dense.macs)
    assert replace(compressed, counted_macs=None) != compressed
