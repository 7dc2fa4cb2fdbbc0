"""Exported policies are for the example's network, and are priced again from their tables."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from automl.compression.compressor import digest_of, images_used
from automl.compression.config import CompressionConfig
from automl.example.model import pretrained
from automl.latency.keys import MISSING, op_key
from automl.latency.targets import find_table
from automl.network.layers import Network
from automl.network.traced_model import trace_network
from automl.pipeline.results import describe_making
from automl.policy.file import check_fits, read_policy
from automl.userdata.loading import load_data

FOLDER = Path(__file__).resolve().parents[1] / "policies"
FILES = sorted(FOLDER.glob("*.json"))


@cache
def network() -> Network:
    return trace_network(pretrained(), (1, 1, 28, 28)).network


def test_there_are_policies() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_policy_is_priced_again_from_its_table(path: Path) -> None:
    """The sum over the layers as they would be is the prediction, whoever adds it up."""
    file = read_policy(path)
    check_fits(file, network())
    table = find_table(file.target.name)
    assert table.digest == file.target.table_digest, "the table changed: export the policy anew"
    policy = file.policy
    layers = network().shapes(policy.channels, policy.removed, policy.resolution)
    precision = table.header.precisions[0]
    timings = table.lookup([op_key(layer, precision) for layer in layers])
    assert not (timings.source == MISSING).any()
    overhead = table.header.overhead
    seconds = float(timings.seconds.sum())
    if overhead is not None:
        seconds = (
            overhead.scale * seconds
            + overhead.seconds_per_operator * len(layers)
            + overhead.seconds_per_call
        )
    assert file.predicted.latency_seconds == pytest.approx(seconds, rel=1e-6)
    assert file.predicted.macs == sum(layer.macs for layer in layers)
    assert file.dense.latency_seconds is not None
    assert seconds < file.dense.latency_seconds


def test_policies_are_made_with_the_examples_own_inputs() -> None:
    config = CompressionConfig()
    traced = trace_network(pretrained(), (1, 1, 28, 28))
    data = load_data("automl.example.data:loaders", config.calibration, config.seed)
    digest = digest_of(images_used(traced, data.calibration.inputs, config))
    for path in FILES:
        made = read_policy(path).made_with
        assert made is not None
        assert made == describe_making(config, digest)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_policy_is_plain_json(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["model"]["fingerprint"] == network().fingerprint
    assert found["schema_version"] == 2
    assert found["scored_on"].endswith("test inputs")
