"""A pull to few values: the clustering error falls with training."""

from __future__ import annotations

import torch
from recoverable import batches, pair

from automl.recovery.base import Step
from automl.recovery.delivered_weights import DeliveredWeights
from automl.recovery.loop import RecoveryData, recover
from automl.recovery.objective import Objective
from automl.recovery.recipe import RecoveryRecipe
from automl.recovery.terms.k_means import KMeansPull, nearest_centres
from automl.testing import TermContract


class TestKMeans(TermContract):
    name = "k-means"


def test_centres_are_those_of_the_clusters() -> None:
    values = torch.tensor([[1.0, 1.2, 5.0], [5.2, 0.8, 4.8]])
    expected = torch.tensor([[1.0, 1.0, 5.0], [5.0, 1.0, 5.0]])
    torch.testing.assert_close(nearest_centres(values, 2), expected)
    torch.testing.assert_close(nearest_centres(values, 6), values)


def test_the_clustering_error_falls_with_training() -> None:
    errors = []
    for terms in (("kd",), ("kd", "k-means:weight=3,values=4")):
        teacher, student = pair()
        recipe = RecoveryRecipe(terms, 8, learning_rate=0.02)
        recover(
            Objective(student, (teacher,), recipe.made_terms()), RecoveryData(batches()), recipe
        )
        weights = DeliveredWeights(student, batches()[0][0])()
        step = Step(torch.zeros(1), None, [], [], weights=weights)
        errors.append(float(KMeansPull(values=4)(step).detach()))
    assert errors[1] < 0.9 * errors[0]
