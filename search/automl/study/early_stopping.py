"""Giving up a candidate that cannot any more beat the incumbent, on the images seen so far.

Both are judged on the same images, so what counts is their difference image by image. The images
come in a random order (drawn once), without replacement, from a set of known size.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Probability that a candidate which is at least as good as the incumbent is given up.
ERROR: Final = 0.01
#: A bet risks at most this share of what would be lost on an image of the largest difference.
_LARGEST_BET: Final = 0.5


def should_stop(
    differences: NDArray[np.float64], images: int, most: float, error: float = ERROR
) -> bool:
    """Whether the candidate's mean over all images is below the incumbent's.

    A sequential test by betting. Say that the candidate is at least as good: over all images the
    differences sum to 0 or more. Then, after some were seen, those left have at least the mean
    m = -sum / left, and so has the next in expectation. A capital of 1 is multiplied, image by
    image, by 1 - bet * (difference - m), with a bet that is set from earlier images alone: it
    cannot grow in expectation, so that it ever reaches 1 / error has at most the probability
    `error` (Ville's inequality), however often one looks. The bets cannot ruin the capital, for
    differences have an upper bound; they need no lower one, so errors may be as large as they like.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
    2023 (section 5, without replacement). Differs: one-sided, and the bet is the margin over the
    mean square around m. The probability is over the order of the images, for a candidate whose
    proposal does not depend on it.

    Args:
        differences: Candidate minus incumbent, of the images seen so far in order.
        images: How many there are in all.
        most: No image has a larger difference.
        error: Probability of giving up a candidate that is as good as the incumbent.
    """
    seen = len(differences)
    sums = np.cumsum(differences)
    if seen == 0 or sums[-1] >= 0.0:
        return False
    left = images - np.arange(seen)  # before each image
    if (sums + (left - 1) * most < 0.0).any():
        return True  # no matter what the rest say
    before = np.concatenate([[0.0], sums[:-1]])
    least = -before / left
    surplus = differences - least
    # One image beforehand, of a quarter of the largest difference: no bet rests on nothing.
    number = np.arange(1, seen + 1)
    squares = np.concatenate([[0.0], np.cumsum(surplus**2)[:-1]]) + (most / 4) ** 2
    margin = np.maximum(least - before / number, 0.0)
    room = np.maximum(most - least, 1e-12 * most)
    bets = np.minimum(margin * number / np.maximum(squares, 1e-300), _LARGEST_BET / room)
    capital = np.cumsum(np.log1p(-bets * surplus))
    return bool(capital.max() >= -np.log(error))
