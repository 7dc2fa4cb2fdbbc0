"""Signs: by whom they have their scale, and where gradients end."""

from __future__ import annotations

from dataclasses import replace

import torch
from roundings import drawn, given

from automl.compression.quantization.qparams import QParams
from automl.policy.policy import Bits
from automl.recovery.base import WeightRounding
from automl.recovery.quantizers.binary import BinarizedNetwork, BinaryConnect, XnorNetwork
from automl.testing import TrainedQuantizerContract


class TestBinary(TrainedQuantizerContract):
    name = "binary"
    bits = Bits(1, 32)


class TestBnn(TrainedQuantizerContract):
    name = "bnn"
    bits = Bits(1, 4)


class TestXnor(TrainedQuantizerContract):
    name = "xnor"
    bits = Bits(1, 32)


def scales(rounding: WeightRounding, weights: torch.Tensor) -> torch.Tensor:
    _, known = rounding.frozen(weights)
    assert isinstance(known, QParams)
    return known.scale


def test_xnors_scale_is_the_mean_magnitude_and_follows_it() -> None:
    dense = drawn()
    told = given(dense, 1, 4)
    means = dense.abs().mean(2, keepdim=True)
    for quantizer, follows in ((XnorNetwork(), 3.0), (BinarizedNetwork(), 1.0)):
        rounding = quantizer.weights(told)
        torch.testing.assert_close(scales(rounding, dense), means)
        torch.testing.assert_close(scales(rounding, 3 * dense), follows * means)


def test_xnors_gradient_is_that_of_the_paper() -> None:
    dense = drawn(outputs=1).requires_grad_()
    slope = drawn(outputs=1, seed=1)
    XnorNetwork().weights(given(dense.detach(), 1, 4))(dense).backward(slope)
    signs, size = dense.detach().sign(), float(dense.detach().abs().mean())
    by_scale = (slope * signs).sum() / dense.numel() * signs
    inside = dense.detach().abs() <= 2 * size
    torch.testing.assert_close(dense.grad, by_scale + slope * inside)


def test_numbers_of_binary_connect_do_not_leave_their_range() -> None:
    dense = drawn().requires_grad_()
    rounding = BinaryConnect().weights(given(dense.detach(), 1, 4))
    rounding(dense).backward(torch.ones_like(dense))
    assert dense.grad is not None
    units = dense.detach() / (2 * dense.detach().abs().mean(2, keepdim=True))
    assert (dense.grad[units < -1] == 0).all()  # a step down would lead further out
    assert (dense.grad[units > -1] > 0).all()
    assert (units < -1).any()


def test_no_gradient_passes_beyond_one_in_a_binarized_network() -> None:
    dense = drawn().requires_grad_()
    BinarizedNetwork().weights(given(dense.detach(), 1, 4))(dense).sum().backward()
    assert dense.grad is not None
    beyond = dense.detach().abs() > 2 * dense.detach().abs().mean(2, keepdim=True)
    assert torch.equal(dense.grad == 0, beyond)


def test_other_bits_are_refused() -> None:
    for quantizer in (BinaryConnect(), BinarizedNetwork(), XnorNetwork()):
        assert "w1" in quantizer.refusal(Bits(2, 8))


def test_it_begins_with_the_signs_of_the_post_training_network() -> None:
    dense = drawn()
    told = given(dense, 1, 4)
    turned = replace(told, weights=-told.weights)
    for quantizer in (BinaryConnect(), BinarizedNetwork(), XnorNetwork()):
        rounding = quantizer.weights(turned)
        numbers = rounding.begin(turned)
        torch.testing.assert_close(rounding(numbers).detach(), turned.weights)
        torch.testing.assert_close(numbers.abs(), dense.abs())
