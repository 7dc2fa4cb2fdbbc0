"""A policy file made by hand, for tests of what is done with one."""

from __future__ import annotations

from dataclasses import replace

from automl.policy.file import MadeWith, Model, PolicyFile, PolicyTarget, Predicted, choices
from automl.policy.policy import Bits, Policy
from handmade import network

NETWORK = replace(network(), fingerprint="0123456789abcdef")
POLICY = Policy(
    {"stem": 8, "inner": 24, "left": 4},
    frozenset({"block"}),
    16,
    {"mix": Bits(8, 8)},
)


MADE_WITH = MadeWith(
    importance="obs",
    reconstruction="least-squares",
    quantization="second-order",
    calibration=2000,
    seed=3,
    inputs_digest="d2",
)


def policy_file(policy: Policy = POLICY) -> PolicyFile:
    return PolicyFile(
        automl="0.1.0",
        model=Model(
            name="mine.py:net",
            fingerprint=NETWORK.fingerprint,
            input_shape=NETWORK.input_shape,
        ),
        target=PolicyTarget(name="cpu", description="this machine", table_digest="d1"),
        budget=("50%", "4MB"),
        made_with=MADE_WITH,
        predicted=Predicted(
            latency_seconds=0.001, latency_error=0.08, macs=5e6, bytes=1e5, measured=1.0
        ),
        dense=Predicted(latency_seconds=0.002, macs=1e7, bytes=2e5, measured=0.9, fitted=0.1),
        score=0.9,
        scored_on="2,000 validation inputs",
        agent="lagrangian",
        seed=0,
        **choices(policy, NETWORK),
    )
