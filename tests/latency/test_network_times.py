"""Timed networks as arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from timed_networks import NETWORKS

from automl.latency import fit


def test_networks_that_are_taken_keep_their_operators_and_sources() -> None:
    whole = fit.networks(NETWORKS[:4], [1.0, 2.0, 3.0, 4.0], (1, 8))
    told = replace(
        whole,
        weight=np.array([1.0, 0.5, 1.0, 0.5]),
        source=np.array([0, 1, 1, 0]),
        sources=(fit.SourceBelief(), fit.SourceBelief(factor=0.3)),
    )
    found = told.take(np.array([False, True, True, False]))
    assert found.seconds.tolist() == [2.0, 3.0]
    assert found.weight.tolist() == [0.5, 1.0]
    assert found.source.tolist() == [1, 1]
    assert len(found.sources) == 2
    assert np.bincount(found.network).tolist() == [len(NETWORKS[1]), len(NETWORKS[2])]
    assert len(found.ops) == len(NETWORKS[1]) + len(NETWORKS[2])


def test_a_source_expects_the_devices_own_time_and_little_more() -> None:
    factor, call, operator = fit.SourceBelief(call_seconds=1e-4).levels
    assert factor == 0.0
    assert np.isclose(np.exp(call), 1e-4)
    assert operator < call
