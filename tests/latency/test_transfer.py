"""A new device from few timings of whole networks and a known device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from timed_networks import NETWORKS, parameters, predictor, timed

from automl.errors import TableError
from automl.latency import fit, roofline
from automl.latency.features import CLASSES
from automl.latency.transfer import few_shot


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


def test_one_timing_moves_the_scale_and_doubles_the_known_error():
    (seconds,) = timed(parameters() + np.log(3.0), NETWORKS[:1])
    shot = few_shot([(NETWORKS[0], seconds)], predictor())
    assert shot.errors == {"fp32": pytest.approx(0.2)}
    others = fit.networks(NETWORKS[1:5], timed(parameters() + np.log(3.0), NETWORKS[1:5]), (1, 8))
    found = fit.network_seconds(shot.predictor.units["fp32"].parameters, others)
    np.testing.assert_allclose(found, others.seconds, rtol=0.6)
    before = fit.network_seconds(parameters(), others)
    assert (abs(np.log(found / others.seconds)) < abs(np.log(before / others.seconds))).all()


def test_a_precision_that_the_known_device_lacks_starts_from_its_first():
    keys = [replace(key, precision="int8") for key in NETWORKS[0]]
    shot = few_shot([(keys, 1e-3)], predictor())
    assert set(shot.predictor.units) == {"int8"}
    assert shot.timings == {"int8": 1}
    assert float(shot.predictor.predict(keys)[0].sum()) > 0


def few(factor: float, count: int, spread: float, seed: int) -> float:
    """Error on other networks after so many timings, less that of the known device as it is."""
    generator = np.random.default_rng(seed)
    truth = parameters() + np.log(factor)
    order = generator.permutation(len(NETWORKS))
    chosen = [NETWORKS[place] for place in order]
    seconds = timed(truth, chosen) * np.exp(generator.normal(0, spread, len(chosen)))
    shot = few_shot(list(zip(chosen[:count], seconds[:count], strict=True)), predictor())
    held = fit.networks(chosen[count:], seconds[count:].tolist(), (1, 8))
    before, after = (
        np.abs(fit.network_seconds(values, held) / held.seconds - 1).mean()
        for values in (parameters(), shot.predictor.units["fp32"].parameters)
    )
    return float(after - before)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_timings_of_the_known_device_itself_do_no_harm(count: int) -> None:
    """A factor that one network's own error explains is not believed."""
    worse = [few(1.0, count, 0.1, seed) for seed in range(12)]
    assert np.mean(worse) < 0.02


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_device_that_is_really_slower_is_found_to_be(count: int) -> None:
    assert np.mean([few(2.0, count, 0.1, seed) for seed in range(6)]) < -0.3


def test_one_factor_is_kept_where_the_balance_tells_nothing_more() -> None:
    generator = np.random.default_rng(5)
    seconds = timed(parameters() + np.log(3.0), NETWORKS[:4]) * np.exp(generator.normal(0, 0.2, 4))
    shot = few_shot(list(zip(NETWORKS[:4], seconds, strict=True)), predictor())
    moved = shot.predictor.units["fp32"].parameters - parameters()
    assert np.ptp(moved[: roofline.HALF.start]) == pytest.approx(0, abs=1e-9)
