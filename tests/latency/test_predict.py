"""The fitted predictor: its form, its fit, and how it moves to a new device."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from automl.errors import TableError
from automl.latency import fit, roofline
from automl.latency.features import CLASSES, op_class, operator_features
from automl.latency.keys import OpKey
from automl.latency.predict import UNSEEN_ERROR, Roofline, Unit, load_predictor
from automl.latency.transfer import few_shot


def conv(inputs: int, outputs: int, size: int, kernel: int = 3, stride: int = 1, **more) -> OpKey:
    half = kernel // 2
    out = (size + stride - 1) // stride
    return OpKey(
        more.pop("op", "conv2d"), inputs, outputs, (kernel, kernel), (stride, stride),
        (half, half), in_size=(size, size), out_size=(out, out), **more,
    )  # fmt: skip


def network(width: int, depth: int, size: int, depthwise: bool) -> list[OpKey]:
    keys = [conv(3, width, size, stride=2)]
    size = (size + 1) // 2
    for _ in range(depth):
        if depthwise:
            keys.append(conv(width, width, size, op="depthwise_conv2d", groups=width))
            keys.append(conv(width, 2 * width, size, kernel=1))
        else:
            keys.append(conv(width, 2 * width, size, stride=2))
        size, width = max(size // 2, 1), 2 * width
    pooled = OpKey("global_avg_pool", width, width, (size, size), in_size=(size, size))
    return [*keys, pooled, OpKey("linear", width, 100)]


NETWORKS = [
    network(width, depth, size, depthwise)
    for width in (8, 16, 48)
    for depth in (2, 4)
    for size in (64, 160)
    for depthwise in (False, True)
]


#: Size of the smallest operator that the predictor's source networks are said to hold.
LEAST = 1e4


def parameters(macs_per_second: float = 5e9, overhead: float = 1e-5) -> np.ndarray:
    values = np.empty(roofline.PARAMETERS)
    values[roofline.OVERHEAD] = overhead
    values[roofline.RATE] = 1 / macs_per_second
    values[roofline.TRAFFIC] = values[roofline.WEIGHTS] = 1e-9
    values[roofline.HALF] = values[roofline.HALF_DEPTHWISE] = 4.0
    values[roofline.CONSTANT] = 5e-5
    return np.log(values)


def predictor(values: np.ndarray | None = None, steps: tuple[int, int] = (1, 8)) -> Roofline:
    ops = frozenset({"conv2d", "depthwise_conv2d", "linear", "global_avg_pool"})
    known = parameters() if values is None else values
    return Roofline(
        {"fp32": Unit(known, steps, np.full(len(CLASSES), 0.1), np.full(len(CLASSES), LEAST), ops)}
    )


def test_coefficients_survive_json():
    before = predictor()
    after = load_predictor(json.loads(json.dumps(before.coefficients())))
    expected, errors = before.predict(NETWORKS[0])
    seconds, again = after.predict(NETWORKS[0])
    np.testing.assert_allclose(seconds, expected, rtol=1e-5)
    np.testing.assert_array_equal(again, errors)
    assert after.constant("fp32") == pytest.approx(5e-5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda one: one.update(model="forest"), "model"),
        (lambda one: one["precisions"]["fp32"].pop("constant_seconds"), "constant_seconds"),
        (lambda one: one["precisions"]["fp32"]["classes"].pop("pool"), "pool"),
        (
            lambda one: one["precisions"]["fp32"]["classes"]["pool"].update(overhead_seconds=-1),
            "overhead_seconds",
        ),
    ],
)
def test_bad_coefficients_are_named(change, named):
    coefficients = predictor().coefficients()
    change(coefficients)
    with pytest.raises(TableError, match=named):
        load_predictor(coefficients)


def test_unknown_precision_has_no_time():
    seconds, errors = predictor().predict([replace(NETWORKS[0][0], precision="int8")])
    assert np.isnan(seconds).all()
    assert np.isnan(errors).all()


def test_operators_that_no_source_holds_cost_time_and_state_a_large_error():
    shape = {"in_size": (14, 14), "out_size": (14, 14)}
    unseen = ["conv_transpose2d", "norm", "softmax", "shuffle", "resize", "activation", "mul"]
    keys = [OpKey(op, 64, 64, **shape) for op in unseen]
    seconds, errors = predictor().predict(keys)
    assert (seconds > 1e-5).all()
    assert (errors >= UNSEEN_ERROR).all()
    assert predictor().predict([NETWORKS[0][0]])[1][0] == pytest.approx(0.1)


def test_the_stated_error_grows_for_operators_smaller_than_any_source_held():
    keys = [OpKey("linear", 100, width) for width in (1000, 100, 10, 1)]
    _, errors = predictor(steps=(1, 1)).predict(keys)
    np.testing.assert_allclose(errors, [0.1, 0.1, 0.2, 0.3])


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


def test_channels_cost_by_steps():
    keys = [conv(64, outputs, 28) for outputs in (57, 64, 65)]
    seconds, _ = predictor(steps=(1, 8)).predict(keys)
    assert seconds[0] == pytest.approx(seconds[1], rel=0.02)
    assert seconds[2] > 1.1 * seconds[1]


def test_slopes_are_those_of_the_times():
    ops = operator_features([key for keys in NETWORKS[:4] for key in keys], (1, 1))
    values = parameters() + np.random.default_rng(0).normal(0, 0.3, roofline.PARAMETERS)
    parts = roofline.evaluate(values, ops)
    for index, slope in (
        (roofline.RATE, parts.rate),
        (roofline.TRAFFIC, parts.traffic),
        (roofline.OVERHEAD, parts.overhead),
        (roofline.WEIGHTS, parts.weights),
    ):
        moved = values.copy()
        moved[index] += 1e-6
        found = (roofline.evaluate(moved, ops).seconds - parts.seconds) / 1e-6
        np.testing.assert_allclose(found, slope, rtol=1e-3, atol=1e-12)


def timed(values: np.ndarray, chosen: list[list[OpKey]]) -> list[float]:
    data = fit.networks(chosen, [1.0] * len(chosen), (1, 8))
    return fit.network_seconds(values, data).tolist()


def test_a_family_is_fitted_and_lends_its_shape_to_a_unit_with_few_timings():
    slow, fast = parameters(2e9, 2e-5), parameters(2e10, 2e-6)
    for unit in (slow, fast):  # what the units share and the prior does not know
        unit[roofline.RATE.start + CLASSES.index("depthwise")] += 2.0
    dense = NETWORKS[::2][:4]  # none with a depthwise convolution
    noise = np.random.default_rng(1).normal(0, 0.02, (2, len(NETWORKS)))
    data = {
        "slow": fit.networks(NETWORKS, timed(slow, NETWORKS) * np.exp(noise[0]), (1, 8)),
        "fast": fit.networks(dense, timed(fast, dense) * np.exp(noise[1, :4]), (1, 8)),
    }
    around = fit.Spread(scale=3.0)
    prior = fit.FamilyPrior(parameters(1e9, 1e-4), fit.Spread(scale=5, kind=1.5, own=0.7), around)
    zero = np.zeros(roofline.PARAMETERS)
    found = fit.fit_family(data, {"slow": zero, "fast": zero}, prior)
    alone = fit.fit_family({"fast": data["fast"]}, {"fast": zero}, prior)
    assert miss(found["slow"], slow) < 0.03
    assert miss(found["fast"], fast) < 0.8 * miss(alone["fast"], fast)


def miss(found: np.ndarray, truth: np.ndarray) -> float:
    whole = fit.networks(NETWORKS, timed(truth, NETWORKS), (1, 8))
    return float(np.abs(fit.network_seconds(found, whole) / whole.seconds - 1).mean())


def test_few_timings_beat_none_and_more_beat_few():
    target = parameters(2e10, 3e-6)
    target[roofline.RATE.start + CLASSES.index("depthwise")] += 0.7
    like = predictor()
    errors = []
    order = np.random.default_rng(3).permutation(len(NETWORKS))
    chosen = [NETWORKS[i] for i in order]
    seconds = timed(target, chosen)
    held = fit.networks(chosen[12:], seconds[12:], (1, 8))
    for count in (1, 3, 12):
        shot = few_shot(list(zip(chosen[:count], seconds[:count], strict=True)), like)
        values = shot.predictor.units["fp32"].parameters
        errors.append(np.abs(fit.network_seconds(values, held) / held.seconds - 1).mean())
        assert shot.timings["fp32"] == count
        assert 0 < shot.errors["fp32"] < 1
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.05


@pytest.mark.parametrize(
    ("timings", "named"),
    [
        ([], "at least one"),
        ([(NETWORKS[0], 0.0)], "timing 1: 0.0 s"),
        ([(NETWORKS[0], 1.0), (NETWORKS[1], float("nan"))], "timing 2"),
        ([([], 1.0)], "no operators"),
        ([([*NETWORKS[0], replace(NETWORKS[0][0], precision="int8")], 1.0)], "fp32 and int8"),
    ],
)
def test_bad_timings_are_named(timings, named):
    with pytest.raises(TableError, match=named):
        few_shot(timings, predictor())
