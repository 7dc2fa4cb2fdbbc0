"""Exported policies are for the examples' networks, and are priced again from their tables."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from automl.compression.compressor import digest_of, images_used
from automl.compression.config import CompressionConfig
from automl.example import Example, example_of
from automl.latency.keys import MISSING, op_key
from automl.latency.targets import find_table
from automl.network.traced_model import TracedModel, trace_network
from automl.pipeline.results import describe_making
from automl.policy.file import check_fits, read_policy
from automl.userdata.loading import load_data
from automl.userdata.models import load_model

FOLDER = Path(__file__).resolve().parents[1] / "policies"
FILES = sorted(FOLDER.glob("*.json"))


def example(path: Path) -> Example:
    """The example that a policy is for."""
    found = example_of(read_policy(path).model.name)
    assert found is not None
    return found


@cache
def traced(found: Example) -> TracedModel:
    return trace_network(load_model(found.model), found.input_shape)


def test_there_are_policies() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_policy_is_priced_again_from_its_table(path: Path) -> None:
    """The sum over the layers as they would be is the prediction, whoever adds it up."""
    file, network = read_policy(path), traced(example(path)).network
    check_fits(file, network)
    table = find_table(file.target.name)
    assert table.digest == file.target.table_digest, "the table changed: export the policy anew"
    policy = file.policy
    layers = network.shapes(policy.channels, policy.removed, policy.resolution)
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_policy_is_made_with_its_examples_own_inputs(path: Path) -> None:
    made, found = read_policy(path).made_with, example(path)
    assert made is not None
    # A search leaves room for the program, the model and the images in its limit.
    assert CompressionConfig().memory / 2 < made.memory <= CompressionConfig().memory
    config = CompressionConfig(memory=made.memory)
    data = load_data(found.data, config.calibration, config.seed)
    digest = digest_of(images_used(data.calibration.inputs, config))
    assert made == describe_making(config, digest)


def test_the_denoiser_meets_the_headlines_budget_and_exceeded_it() -> None:
    file = read_policy(FOLDER / "denoiser-jetson-orin-nano-10ms.json")
    assert file.budget == ("10ms",)
    assert file.predicted.latency_seconds is not None
    assert file.dense.latency_seconds is not None
    assert file.predicted.latency_seconds <= 10e-3
    assert 20e-3 <= file.dense.latency_seconds <= 30e-3
    assert file.predicted.fitted == 1.0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_policy_is_plain_json(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["model"]["fingerprint"] == traced(example(path)).network.fingerprint
    assert found["schema_version"] == 2
    assert found["scored_on"].endswith("test inputs")
