"""What cannot be exported is said before anything is priced or searched."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import Tiny, Twins, request, task, write_table
from torch import Tensor, nn

from automl.errors import ModelError
from automl.pipeline import Event, Sharing, ignore, search
from automl.pipeline.context import DenseScore, trace_request
from automl.pipeline.requests import SearchRequest
from automl.userdata.data import Batches, Data


class Branches(Tiny):
    """Looks at what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 0.02:
            x = x * 0.5
        return super().forward(x)


class Large(Tiny):
    """Of pictures of 16 bits."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / 40_000.0)


@pytest.fixture
def asked(tmp_path: Path) -> SearchRequest:
    return request(write_table(tmp_path / "board.jsonl"), tmp_path / "run", "60%MACs")


def of(model: torch.nn.Module, asked: SearchRequest, **changes: str) -> SearchRequest:
    torch.manual_seed(0)
    return dataclasses.replace(asked, task=dataclasses.replace(task(), model=model), **changes)


def test_a_network_that_looks_at_values_is_refused_with_its_line(
    asked: SearchRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    stages: list[str] = []

    def note(event: Event) -> None:
        stages.append(event.stage)

    said = (
        r"^the model cannot be exported to ONNX: what it does depends on values that it computes"
        r" \(.*test_exporting.py:\d+: if x.mean\(\) > 0.02:\)$"
    )
    with pytest.raises(ModelError, match=said):
        search(of(Branches().eval(), asked), note)
    assert stages == ["reading the network"]
    assert capsys.readouterr() == ("", "")


def test_values_beyond_16_bit_floats_are_refused_where_the_target_has_no_others(
    asked: SearchRequest,
) -> None:
    given = of(Large().eval(), asked)
    large = Batches(tuple((40_000.0 * x, y) for x, y in given.task.data.calibration))
    given = dataclasses.replace(
        given, task=dataclasses.replace(given.task, data=Data(large, large))
    )
    trace_request(given)
    said = r"on calibration input \d+ values in its input are beyond its range \(65504\), .*: scale"
    with pytest.raises(ModelError, match=said):
        trace_request(dataclasses.replace(given, target="jetson-nano"))
    trace_request(of(Tiny().eval(), asked, target="jetson-nano"))


def test_each_target_of_a_sweep_is_asked_in_the_floats_that_it_has(asked: SearchRequest) -> None:
    given = of(Large().eval(), asked)
    large = Batches(tuple((40_000.0 * x, y) for x, y in given.task.data.calibration))
    task_ = dataclasses.replace(given.task, data=Data(large, large))
    given, sharing = dataclasses.replace(given, task=task_), Sharing()
    sharing.price(given, ignore)
    with pytest.raises(ModelError, match="beyond its range"):
        sharing.price(dataclasses.replace(given, target="jetson-nano"), ignore)


class Coarse(Tiny):
    """Right in 32 bits; in fp16 what it computes is rounded away."""

    def forward(self, x: Tensor) -> Tensor:
        return (super().forward(x) + 30_000.0) - 30_000.0


def test_accuracy_is_that_of_what_the_file_computes() -> None:
    model = Coarse().eval()
    of_task = dataclasses.replace(task(), model=model)
    given = dataclasses.replace(
        of_task, score=lambda net, data: float(net(next(iter(data))[0]).std())
    )
    assert DenseScore(model, given).value > 0
    assert DenseScore(model, given, half=True).value == 0


def test_integers_that_cannot_be_written_are_refused_where_they_may_be_chosen(
    asked: SearchRequest,
) -> None:
    given = of(Twins().eval(), asked)
    trace_request(given)  # the target computes in floats alone
    timed = dataclasses.replace(given, target="rpi4-1t", budget=("50%",), precisions=("auto",))
    with pytest.raises(ModelError, match=r"may choose integers, .* no value where two ") as caught:
        trace_request(timed)
    assert caught.value.options == ("precisions",)
    trace_request(dataclasses.replace(timed, precisions=("float",)))
    trace_request(dataclasses.replace(timed, budget=("50%MACs",)))


class Projected(nn.Module):
    """A recurrent layer whose states are projected, which ONNX has no operator of."""

    def __init__(self) -> None:
        super().__init__()
        self.states = nn.LSTM(48, 24, proj_size=8, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(
            self.states(x.flatten(2).transpose(1, 2).unflatten(1, (16, 16)).flatten(2))[0].mean(1)
        )


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_a_file_that_does_not_run_is_refused_in_one_line(
    asked: SearchRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match="ONNX Runtime cannot run the exported model") as caught:
        trace_request(of(Projected().eval(), asked))
    assert not {"\n", "\x1b"} & set(str(caught.value))
    assert capfd.readouterr() == ("", "")
