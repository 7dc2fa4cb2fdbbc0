"""What kinds of choices do together, fitted to what candidates scored."""

from __future__ import annotations

import numpy as np
import pytest

from automl.solver.joint_error import KindSums, fit_joint_error
from automl.space import Sensitivity, Space, Variable

SPACE = Space(
    (
        Variable("resolution", "", (16, 24, 32)),
        Variable("channels", "a", (1, 2, 3, 4)),
        Variable("channels", "b", (1, 2, 3, 4)),
        Variable("block", "c", (0, 1)),
        Variable("block", "d", (0, 1)),
    ),
    ((3, (2,)),),
)
ROW = np.array([0.9, 0.4, 0.1, 0.0])
SENSITIVITY = Sensitivity(
    (np.array([0.5, 0.2, 0.0]), ROW, 2.0 * ROW, np.array([0.7, 0.0]), np.array([0.3, 0.0])),
    16,
    (((1, 2), np.outer(ROW, ROW)),),
)
KINDS = KindSums(SPACE, SENSITIVITY, np.array([0.0, 0.0, 1.0, 0.5, 1.0]))


def drawn(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return SPACE.random(count, np.random.default_rng(0))


def true_losses(vectors: np.ndarray[tuple[int, ...], np.dtype[np.int16]]) -> np.ndarray:
    sums = KINDS.sums(vectors)
    resolution = np.array([1.0, 0.1, 0.0])[vectors[:, 0]]
    channels, blocks = sums["channels"] @ [1.0, 3.0], sums["block"].sum(axis=1)
    return np.asarray(0.2 + resolution + channels + 0.5 * blocks)


def test_sums_leave_out_what_lives_in_a_block_that_is_left_out() -> None:
    vector = np.array([[1, 0, 0, 0, 1]], dtype=np.int16)
    found = {kind: each[0].tolist() for kind, each in KINDS.sums(vector).items()}
    assert found == {"resolution": [0.2, 0.0], "channels": [0.9, 0.0], "block": [0.35, 0.35]}
    assert KINDS.totals(vector) == pytest.approx(1.8)


def test_slopes_and_steps_are_found_from_enough_candidates() -> None:
    vectors = drawn(40)
    fit = fit_joint_error(KINDS, vectors, true_losses(vectors))
    fresh = SPACE.random(50, np.random.default_rng(1))
    assert fit.predict(fresh) == pytest.approx(true_losses(fresh), abs=0.15)
    _, _, first, last, *blocks = fit.weights
    assert first == pytest.approx(1.0, abs=0.1)
    assert last == pytest.approx(3.0, abs=0.1)
    assert blocks == pytest.approx([0.5, 0.5], abs=0.2)


def test_one_candidate_leaves_the_kinds_as_they_were_measured() -> None:
    fit = fit_joint_error(KINDS, drawn(1), np.array([0.4]))
    slopes = fit.weights[2:]
    assert slopes == pytest.approx(slopes[0])
    assert slopes[0] > 0.0
    assert (fit.weights >= 0.0).all()
    assert fit.predict(drawn(1))[0] == pytest.approx(0.4)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_what_the_solver_is_given_adds_up_to_what_is_predicted(factor: float) -> None:
    vectors = drawn(12)
    fit = fit_joint_error(KINDS, vectors, true_losses(vectors) ** 2)
    given = fit.sensitivity({"block": (factor, factor), "channels": (factor, factor)})
    chosen = SPACE.canonical(vectors)
    total = sum(row[chosen[:, place]] for place, row in enumerate(given.single))
    for (one, other), table in given.pairwise:
        total = total + table[chosen[:, one], chosen[:, other]]
    steps = given.single[0][chosen[:, 0]]
    assert total - steps == pytest.approx(factor * (fit.predict(vectors) - fit.base - steps))
    assert all((row >= 0.0).all() for row in given.single)


def test_losses_that_say_nothing_do_not_break_it() -> None:
    vectors = drawn(5)
    for losses in (np.zeros(5), np.array([0.0, 0.0, 0.0, 0.0, 1.0]), -KINDS.totals(vectors)):
        fit = fit_joint_error(KINDS, vectors, losses, [1.0, 0.5, 1.0, 1.0, 0.1])
        assert np.isfinite(fit.predict(vectors)).all()
        assert (fit.weights >= 0.0).all()


def test_candidates_that_are_far_off_count_less() -> None:
    """Scores saturate: what a bad candidate loses says little of what a good one would."""
    vectors = drawn(30)
    losses = np.minimum(true_losses(vectors), 3.0)
    best = np.argsort(losses)[:6]
    columns, _ = KINDS.columns(vectors)
    columns = np.column_stack([columns, np.ones(len(columns))])
    alike = columns @ np.linalg.lstsq(columns, losses, rcond=None)[0]
    found = fit_joint_error(KINDS, vectors, losses).predict(vectors)
    assert np.abs(found - losses)[best].mean() < 0.7 * np.abs(alike - losses)[best].mean()
