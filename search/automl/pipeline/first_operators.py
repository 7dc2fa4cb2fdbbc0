"""What is measured before a search: enough to predict the rest of what it may ask for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from automl.cost import operators_of, required_keys
from automl.latency import OpKey, most_telling
from automl.network import TracedModel
from automl.pipeline.networks import fitting_vectors, whole_first
from automl.policy import Precisions
from automl.space import Space, Vectors

#: Relative uncertainty to which each operator of the fitted networks is known. Their sums are known
#: better by far, as what operators are off by is not the same for all.
FIT_UNCERTAINTY: Final = 0.08
#: The same of all other operators, the share of them that may be measured for it, and so many
#: beside the fitted networks' at least.
FIRST_UNCERTAINTY, FIRST_SHARE, FEWEST_MORE = 0.12, 0.15, 8


def first_operators(
    traced: TracedModel, space: Space, seed: int, precisions: Precisions
) -> list[OpKey]:
    """What is measured before a search.

    All operators of the first networks that the overhead is fitted on; of the others those that
    tell most, until the rest of them is known to `FIT_UNCERTAINTY`; then those that tell most of
    what the space may ask for, until each is known to `FIRST_UNCERTAINTY` or a share of
    `FIRST_SHARE` is to be measured.
    """
    network = traced.network

    def operators(vectors: Vectors) -> list[OpKey]:
        policies = [space.decode(vector) for vector in vectors]
        return [key for each in policies for key in operators_of(network, each, precisions)]

    vectors = fitting_vectors(space, seed)
    wanted = required_keys(network, space, precisions=precisions)
    return telling(operators(whole_first(space, vectors)), operators(vectors), wanted)


def telling(
    whole: Iterable[OpKey], fitted: Iterable[OpKey], wanted: Iterable[OpKey]
) -> list[OpKey]:
    """What is measured, of operators of three kinds; each may have those of the kind before it.

    Args:
        whole: All are measured.
        fitted: The rest is known to `FIT_UNCERTAINTY`.
        wanted: The rest is known to `FIRST_UNCERTAINTY`, if few enough are to be measured for it.
    """
    first, wanted = list(dict.fromkeys(whole)), list(wanted)
    fitted = list(fitted)
    first += most_telling(fitted, first, len(fitted), FIT_UNCERTAINTY)
    most = max(int(FIRST_SHARE * len(wanted)) - len(first), FEWEST_MORE)
    return [*first, *most_telling(wanted, first, most, FIRST_UNCERTAINTY)]
