"""Reaching a cluster."""

from __future__ import annotations

import importlib.util
import socket

import pytest
from tiny_sweeps import MakeRecipe

from automl.errors import ClusterError, UsageError
from automl.sweep import cluster, run_sweep
from automl.sweep.cluster import connected


def test_a_cluster_that_does_not_answer_is_told_with_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "REACH_SECONDS", 0.2)
    with socket.socket() as taken:  # a port that nobody listens on
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = rf"no Ray cluster at {address} \(tried for \d+ s\)"
        with pytest.raises(ClusterError, match=said), connected(address):
            pass


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(ClusterError, match="expected auto, local or HOST:PORT"), connected("here"):
        pass


def test_without_ray_it_is_said_what_to_install(
    recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(cluster, "find_spec", lambda name: None if name == "ray" else found(name))
    asked = recipe(common={"budget": "60%", "agent": "uniform"}, grid={"seed": [0, 1]})
    with pytest.raises(UsageError, match=r"pip install 'automl\[ray\]'"):
        run_sweep(asked, ray="local")
    one = recipe(common={"budget": "60%", "agent": "uniform"})
    assert run_sweep(one, ray="local").rows[0].state == "COMPLETE"  # which needs none
