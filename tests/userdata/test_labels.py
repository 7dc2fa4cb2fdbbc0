"""Labels held against the outputs, and the score where there are no classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from automl.errors import DataError
from automl.userdata.data import Batches, Data
from automl.userdata.labels import has_classes, without_classes
from automl.userdata.loading import choose_score
from automl.userdata.scores import Logits, top1_accuracy

INPUTS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def data(targets: Any, test: Any = None) -> Data:
    part = Batches(((INPUTS, targets),))
    return Data(part, part, None if test is None else Batches(((INPUTS, test),)))


class Gives(nn.Module):
    """A network of four outputs, in the nest that is asked for."""

    def __init__(self, nest: str = "tensor", outputs: int = 4) -> None:
        super().__init__()
        self.layer, self.nest = nn.Linear(3, outputs), nest

    def forward(self, x: torch.Tensor) -> Any:
        found = self.layer(x)
        if self.nest == "tensor":
            return found
        return {"logits": found, "aux": x} if self.nest == "logits" else (found, x)


CLASSES = torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.mark.parametrize("targets", [CLASSES, CLASSES[:, None], CLASSES.tolist(), CLASSES.numpy()])
def test_classes_of_the_outputs_are_judged_by_accuracy(targets: Any) -> None:
    for nest in ("tensor", "logits"):
        chosen = choose_score(None, Gives(nest), data(targets))
        assert chosen.score is top1_accuracy
        assert (chosen.name, chosen.notes) == ("top-1 accuracy", ())
        assert 0.0 <= chosen.score(Gives(nest), data(targets).validation) <= 1.0


@pytest.mark.parametrize(
    ("model", "targets", "said"),
    [
        (Gives(), None, "the data has no labels"),
        (Gives(), ["cat"] * 6, "targets in a list of other things than numbers"),
        (Gives(), torch.rand(6, 4), r"targets of shape (6, 4) and torch.float32"),
        (Gives(), torch.zeros(6, 8, 8).long(), "targets of shape (6, 8, 8)"),
        (Gives(outputs=1), torch.zeros(6).long(), "the outputs are of shape (1,)"),
        (Gives("pair"), CLASSES, "the model gives 2 outputs (0, 1)"),
        (Gives(), {"boxes": torch.zeros(6, 4)}, "targets in a dict"),
    ],
)
def test_where_there_are_no_classes_logits_are_the_score_and_it_is_said(
    model: nn.Module, targets: Any, said: str
) -> None:
    chosen = choose_score(None, model, data(targets))
    assert isinstance(chosen.score, Logits)
    assert chosen.name == "logits"
    (note,) = chosen.notes
    assert note.startswith(said)
    assert note.endswith("how near outputs are to the dense network's (logits)")
    assert chosen.score(model, data(targets).validation) == 0.0


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (CLASSES + 1, r"1 of 6 validation labels are no class .* highest is 4 \(they count from 1"),
        (CLASSES + 7, "6 of 6 validation labels .* highest is 10, and it has 4 outputs, 0 to 3"),
        (CLASSES - 1, "2 of 6 validation labels .* lowest is -1, and it has 4 outputs"),
        (torch.where(CLASSES > 1, -100, CLASSES), r"is -100 \(which marks what is to be ignored"),
    ],
)
def test_labels_that_are_no_class_of_the_model_are_refused(targets: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        choose_score(None, Gives(), data(targets))
    with pytest.raises(DataError, match=said.replace("validation", "test")):
        choose_score(None, Gives(), data(CLASSES, targets))
    assert choose_score("logits", Gives(), data(targets)).name == "logits"


def test_the_reason_is_empty_where_accuracy_can_be_the_score() -> None:
    assert without_classes(Gives(), data(CLASSES)) == ""


def test_outputs_are_of_classes_where_the_targets_are() -> None:
    assert has_classes(Gives(), data(CLASSES))
    assert has_classes(Gives(), data(CLASSES + 1))  # which a score of the user's own may know
    assert not has_classes(Gives(), data(None))
    assert not has_classes(Gives(), data(torch.rand(6, 4)))
