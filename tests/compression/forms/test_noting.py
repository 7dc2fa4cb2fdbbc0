"""A network says which forms its layers have."""

from __future__ import annotations

import copy

from torch import nn

from automl.compression import built, form_of, outline
from automl.compression.forms.noting import noted_forms


def test_a_layer_of_numbers_says_its_form_and_copies_say_it_too() -> None:
    layer, mask, rank = nn.Conv2d(8, 8, 3), form_of("unstructured"), form_of("rank-channel")
    network = nn.Sequential(
        built(mask, mask.read("50"), layer),
        built(rank, rank.read("first-4"), layer),
        outline(mask, mask.read("25-magnitude"), layer),
        layer,
    )
    found = noted_forms(copy.deepcopy(network))
    assert {name: form.write(parameter) for name, (form, parameter) in found.items()} == {
        "0": "50",
        "2": "25-magnitude",
    }
    assert all(form is mask for form, _ in found.values())
