"""Bits fall: of weights first, then of activations; what is delivered has the policy's."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from automl.compression import CompressionConfig, QuantizedModel
from automl.errors import UsageError
from automl.policy import Bits, Policy
from automl.recovery import TRAINED_QUANTIZERS, QuantizedStudent
from automl.recovery.base import HookPlan, Moment
from automl.recovery.hooks.progressive_bits import ProgressiveBits
from automl.recovery.quantizers.lsq import ActivationStep, WeightSteps
from automl.testing import HookContract
from automl.testing.networks import compressor_of, made_images, made_network


@cache
def made(bits: Bits) -> tuple[nn.Module, QuantizedModel]:
    compressor = compressor_of(made_network(), CompressionConfig())
    model = compressor.make(Policy(bits=dict.fromkeys(compressor.joint.flow.layers, bits)))
    assert isinstance(model, QuantizedModel)
    return compressor.traced.model, model


def student_of(bits: Bits, quantizer: str = "lsq") -> tuple[nn.Module, QuantizedStudent]:
    dense, model = made(bits)
    built = TRAINED_QUANTIZERS.build(quantizer)
    return dense, QuantizedStudent(model, built, [made_images()], dense=dense)


class TestProgressiveBits(HookContract):
    name = "progressive-bits"

    def student(self) -> tuple[nn.Module, nn.Module]:
        return student_of(Bits(2, 2))


def test_bits_fall_of_weights_first_and_then_of_activations() -> None:
    student = student_of(Bits(2, 2))[1]
    weights = student.weight_roundings["weight of inner"]
    (activations, known) = next(
        (each, each.frozen())
        for each in student.activation_roundings.values()
        if isinstance(each, ActivationStep) and each.frozen().low == 0
    )
    assert isinstance(weights, WeightSteps)
    hook = ProgressiveBits()
    hook.start(student, HookPlan(made_images(1)))
    student.train()
    end = 3 * float(weights.step.detach().max())
    numbers = torch.linspace(-end, end, 4001).expand(1, 16, 4001)
    values = torch.linspace(0, 3 * known.scale, 4001)
    counts = []
    for share in (0.01, 0.11, 0.21, 0.31, 0.41, 0.6):
        hook.before_batch(student, Moment(0, share, 0.1))
        found = weights(numbers)[0, 0], activations(values)
        counts.append(tuple(len(each.detach().unique()) for each in found))
    assert [each[0] for each in counts] == [255, 15, 3, 3, 3, 3]
    assert counts[0][1] == counts[2][1] == 4001
    assert [each[1] for each in counts[3:]] == [256, 16, 4]
    student.eval()
    hook.before_batch(student, Moment(0, 0.01, 0.1))
    assert len(weights(numbers)[0, 0].unique()) == 3
    said = "w8a32, w4a32, a32, a8, a4, then the policy's bits"
    assert hook.finish(student) == f"progressive-bits: {said}"
    hook.detach(student)


def test_a_network_of_floats_and_one_of_shared_values_are_refused() -> None:
    plan = HookPlan(made_images(1))
    for network in (nn.Linear(3, 3), student_of(Bits(2, 32))[1]):
        with pytest.raises(UsageError, match="rounded as they are trained"):
            ProgressiveBits().start(network, plan)
    ProgressiveBits().start(student_of(Bits(2, 32), "ternary")[1], plan)


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="between 0 and 1, found 1"):
        ProgressiveBits(share=1.0)
    with pytest.raises(UsageError, match="first bits of progressive-bits"):
        ProgressiveBits(first=12)
