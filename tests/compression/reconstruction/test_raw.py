"""Without a refit weights are what ranking and rounding left."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.compression import Compressor, QuantizedModel
from automl.compression.config import CompressionConfig
from automl.policy.policy import Bits, Policy
from automl.testing.networks import made_compressor, made_images

HALF = {"stem": 6, "inner": 8, "last": 5}
BITS = dict.fromkeys(("inner", "outer", "last"), Bits(3, 8))
FORM = {"form": {"inner": "taps:1x3"}}


def compressor(name: str) -> Compressor:
    return made_compressor(CompressionConfig(reconstruction=name), scheme="qdq-u8s8")


@torch.no_grad()
def same(one: nn.Module, other: nn.Module) -> bool:
    images = made_images(16, seed=7)
    return torch.equal(one(images), other(images))


@pytest.mark.parametrize(
    "policy",
    [
        Policy(HALF),
        Policy(bits=BITS),
        Policy(HALF, bits=BITS),
        Policy(bits=BITS, further=FORM),
        Policy(further=FORM),
    ],
    ids=["channels", "bits", "both", "form and bits", "form"],
)
def test_it_is_what_is_there_before_a_refit(policy: Policy) -> None:
    refitting = compressor("least-squares")
    raw = compressor("raw").make(policy)
    assert isinstance(raw, QuantizedModel) == bool(policy.bits)
    assert same(raw, refitting.make(policy, finish=False))
    assert not same(raw, refitting.make(policy))
