"""The fitted predictor: its form, its fit, and how it moves to a new device."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from timed_networks import NETWORKS, conv, parameters, predictor, timed

from automl.errors import TableError
from automl.latency import fit, roofline
from automl.latency.features import CLASSES, Spill
from automl.latency.keys import OpKey
from automl.latency.predict import UNSEEN_ERROR, Roofline, load_predictor
from automl.latency.transfer import few_shot


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
        (lambda one: one["precisions"]["fp32"].update(channel_steps=[1, 10**400]), "channel_steps"),
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


def test_channels_cost_by_steps():
    keys = [conv(64, outputs, 28) for outputs in (57, 64, 65)]
    seconds, _ = predictor(steps=(1, 8)).predict(keys)
    assert seconds[0] == pytest.approx(seconds[1], rel=0.02)
    assert seconds[2] > 1.1 * seconds[1]


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
    found, _ = fit.fit_family(data, {"slow": zero, "fast": zero}, prior)
    alone, _ = fit.fit_family({"fast": data["fast"]}, {"fast": zero}, prior)
    assert miss(found["slow"], slow) < 0.03
    assert miss(found["fast"], fast) < 0.8 * miss(alone["fast"], fast)


def miss(found: np.ndarray, truth: np.ndarray) -> float:
    whole = fit.networks(NETWORKS, timed(truth, NETWORKS), (1, 8))
    return float(np.abs(fit.network_seconds(found, whole) / whole.seconds - 1).mean())


def test_coefficients_of_version_1_lack_what_is_told_apart_since() -> None:
    before = predictor().coefficients()
    old = json.loads(json.dumps(before))
    old["version"] = 1
    content = old["precisions"]["fp32"]
    del content["pads"], content["seconds_per_weight_3x3"]
    for name in ("depthwise_large", "activation"):
        del content["classes"][name]
    expected, errors = load_predictor(before).predict(NETWORKS[0])
    seconds, again = load_predictor(old).predict(NETWORKS[0])
    np.testing.assert_allclose(seconds, expected)
    np.testing.assert_array_equal(again, errors)


def test_a_convolution_without_padding_counts_the_copy_of_its_padded_map() -> None:
    one = predictor().units["fp32"]
    padded = replace(conv(32, 32, 28), in_size=(30, 30), padding=(0, 0))
    plain, pads = (Roofline({"fp32": replace(one, pads=flag)}) for flag in (False, True))
    (before,), (after,) = plain.predict([padded])[0], pads.predict([padded])[0]
    rate = np.exp(one.parameters[roofline.TRAFFIC.start + roofline.MOVEMENT])
    assert after - before == pytest.approx(rate * 2 * 32 * 30 * 30)
    for other in (conv(32, 32, 28), conv(32, 32, 28, kernel=1)):
        assert plain.predict([other])[0] == pads.predict([other])[0]


def test_maps_beyond_the_cache_count_more_and_what_a_table_keeps_says_so() -> None:
    one = predictor(steps=(1, 1)).units["fp32"]
    unit = replace(one, spill=Spill(elements=20_000.0, times=3.0))
    add, room = (
        OpKey("add", 8, 8, in_size=(size, size), out_size=(size, size)) for size in (40, 20)
    )
    plain, spilled = Roofline({"fp32": one}), Roofline({"fp32": unit})
    rate = np.exp(one.parameters[roofline.TRAFFIC.start + CLASSES.index("add")])
    (before,), (after,) = plain.predict([add])[0], spilled.predict([add])[0]
    assert after - before == pytest.approx(rate * 3 * (3 * 8 * 40 * 40 - 20_000))
    assert plain.predict([room])[0] == spilled.predict([room])[0]
    read = load_predictor(json.loads(json.dumps(spilled.coefficients())))
    assert read.units["fp32"].spill == unit.spill
    np.testing.assert_allclose(read.predict([add])[0], [after], rtol=1e-5)
    timed_network = [([add] * 4, 4 * after + np.exp(one.parameters[roofline.CONSTANT]))]
    assert few_shot(timed_network, spilled).predictor.units["fp32"].spill == unit.spill
    np.testing.assert_allclose(
        few_shot(timed_network, spilled).predictor.predict([add])[0], [after], rtol=1e-6
    )
