"""Modules become classes: chains are sequential, equal ones share a class, names stay."""

from __future__ import annotations

import torch
from torch import nn

from automl.export.source_text import SourceText
from automl.userdata import from_exported


def text(model: nn.Module, *inputs: torch.Tensor) -> str:
    given = inputs or (torch.rand(2, 3, 8, 8),)
    return SourceText(from_exported(torch.export.export(model.eval(), given)), "Net").text()


def test_a_chain_with_gaps_stays_a_chain_under_its_numbers() -> None:
    features = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.Identity(),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(),
        nn.Conv2d(4, 5, 1),
    )
    said = text(nn.Sequential(features, nn.Flatten()))
    inside = ("nn.Conv2d(3, 4, 3)", "nn.Identity()", "nn.ReLU()", "nn.MaxPool2d(2, 2)")
    positions = [said.index(each) for each in (*inside, "nn.Conv2d(4, 5, 1)")]
    assert positions == sorted(positions)
    space: dict[str, object] = {}
    exec("import torch\nimport torch.nn.functional as F\nfrom torch import nn\n" + said, space)
    made = space["Net"]()  # type: ignore[operator]
    assert {*made.state_dict()} == {"0.0.weight", "0.0.bias", "0.5.weight", "0.5.bias"}


def test_equal_modules_are_of_one_class_and_names_with_numbers_stay_apart() -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.one(x)

    said = text(nn.Sequential(*(Part() for _ in range(6))))
    assert '    """0, 1, 2, 3 and 2 more."""\n' in said
    assert said.count("class ") == 2
