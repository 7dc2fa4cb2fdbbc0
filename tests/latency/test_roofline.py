"""The time model by itself: its slopes, and that no operator gets cheaper by being larger."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from timed_networks import NETWORKS, conv, parameters, predictor

from automl.latency import roofline
from automl.latency.features import CLASSES, op_class, operator_features
from automl.latency.keys import OpKey


def test_slopes_are_those_of_the_times():
    ops = operator_features([key for keys in NETWORKS[:4] for key in keys], (1, 1))
    values = parameters() + np.random.default_rng(0).normal(0, 0.3, roofline.PARAMETERS)
    parts = roofline.evaluate(values, ops)
    for index, slope in (
        (roofline.RATE, parts.rate),
        (roofline.TRAFFIC, parts.traffic),
        (roofline.OVERHEAD, parts.overhead),
        (roofline.WEIGHTS, parts.weights),
        (roofline.WEIGHTS3, parts.weights3),
    ):
        moved = values.copy()
        moved[index] += 1e-6
        found = (roofline.evaluate(moved, ops).seconds - parts.seconds) / 1e-6
        np.testing.assert_allclose(found, slope, rtol=1e-3, atol=1e-12)


def random_key(generator: np.random.Generator) -> OpKey:
    kind = generator.choice(["conv2d", "depthwise_conv2d", "linear", "max_pool", "add", "norm"])
    inputs, outputs = (int(one) for one in generator.integers(1, 300, 2))
    size, kernel = int(generator.integers(2, 60)), int(generator.choice([1, 3, 5]))
    if kind == "conv2d":
        return conv(inputs, outputs, size, kernel)
    if kind == "depthwise_conv2d":
        return conv(inputs, inputs, size, kernel, op=kind, groups=inputs)
    if kind == "linear":
        return OpKey("linear", inputs, outputs)
    return conv(inputs, inputs, size, kernel, op=str(kind))


def test_more_work_never_takes_less_time():
    generator = np.random.default_rng(7)
    small, large = [], []
    for _ in range(400):
        key = random_key(generator)
        more = int(generator.integers(1, 60))
        tied = key.op not in ("conv2d", "linear")
        side = generator.choice(["in_channels", "out_channels", "size"])
        if side == "size" and key.op != "linear":
            grown = tuple(one + more for one in key.in_size)
            bigger = replace(key, in_size=grown, out_size=grown)
        elif tied:
            channels = key.in_channels + more
            groups = channels if key.groups > 1 else key.groups
            bigger = replace(key, in_channels=channels, out_channels=channels, groups=groups)
        else:
            side = "in_channels" if side == "size" else side
            bigger = replace(key, **{side: getattr(key, side) + more})
        if op_class(bigger) == op_class(key):
            small.append(key)
            large.append(bigger)
    assert len(small) > 300
    for steps in ((1, 1), (8, 8)):
        before, _ = predictor(steps=steps).predict(small)
        after, _ = predictor(steps=steps).predict(large)
        assert (before > 0).all()
        assert (after >= before * (1 - 1e-12)).all()


def test_a_time_is_the_overhead_and_the_slower_of_arithmetic_and_memory():
    ops = operator_features([conv(16, 32, 8)], (1, 1))
    values = np.exp(parameters())
    half = values[roofline.HALF]
    work = (16 * 9 + half[0]) * (32 + half[1]) * (64 + half[2])
    place = CLASSES.index("spatial3")
    arithmetic = values[roofline.RATE][place] * work
    traffic = values[roofline.TRAFFIC][place] * (16 + 32) * 64
    memory = traffic + values[roofline.WEIGHTS3] * 16 * 32 * 9
    expected = values[roofline.OVERHEAD][place] + np.hypot(arithmetic, memory)
    found = roofline.evaluate(parameters(), ops)
    np.testing.assert_allclose(found.seconds, [expected])
    assert found.overhead[0] == values[roofline.OVERHEAD][place]


def test_what_only_moves_data_has_no_arithmetic():
    ops = operator_features([OpKey("concat", 8, 8, in_size=(4, 4), out_size=(4, 4))], (1, 1))
    found = roofline.evaluate(parameters(), ops)
    assert found.rate[0] == 0
    assert found.traffic[0] > 0


def test_a_strided_convolution_takes_at_most_what_it_takes_at_stride_1():
    values = parameters()
    values[roofline.RATE.start + CLASSES.index("spatial")] += np.log(20.0)  # strided: no Winograd
    whole = conv(64, 64, 14)
    strided = replace(whole, stride=(2, 2), out_size=(7, 7))
    ops = operator_features([whole, strided], (1, 1))
    direct, found = roofline.evaluate(values, ops).seconds, roofline.seconds(values, ops)
    assert direct[1] > direct[0]
    assert found[1] <= found[0]
    plain = parameters()
    np.testing.assert_allclose(roofline.seconds(plain, ops), roofline.evaluate(plain, ops).seconds)


def test_larger_kernels_take_at_least_what_3x3_takes():
    values = parameters()
    for name in ("spatial3", "depthwise"):
        values[roofline.RATE.start + CLASSES.index(name)] += np.log(20.0)
    small = [conv(64, 64, 14), conv(64, 64, 14, op="depthwise_conv2d", groups=64)]
    large = [replace(key, kernel=(5, 5), padding=(2, 2)) for key in small]
    strided = [replace(key, stride=(2, 2), out_size=(7, 7)) for key in (*small, *large)]
    ops = operator_features([*small, *large, *strided], (1, 1))
    direct, found = roofline.evaluate(values, ops).seconds, roofline.seconds(values, ops)
    assert (direct[:2] > direct[2:4]).all()
    assert (found[:2] <= found[2:4] * (1 + 1e-12)).all()
    assert (found[4:] <= found[:4] * (1 + 1e-12)).all()
    np.testing.assert_allclose(found[:2], direct[:2])
