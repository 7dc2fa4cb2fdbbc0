"""The user's own model, weights, data and score: one clear line for each thing that is wrong."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from automl.errors import DataError, ModelError
from automl.userdata.data import Batches, Data
from automl.userdata.loading import (
    check_forward,
    checked_score,
    load_data,
    load_model,
    load_object,
    load_score,
    load_weights,
    make_data,
)
from automl.userdata.scores import psnr, top1_accuracy

USER = """
from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Knob:
    width: int = 4


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, Knob().width), nn.Linear(4, 2))


def broken():
    raise OSError("no such checkpoint")


def loaders():
    order = torch.randperm(8)
    images = torch.arange(8.0)[order, None, None, None].expand(8, 3, 2, 2)
    return [(images, order % 2)], [(images, order % 2)], [(images, order % 2)]


def one_part():
    return [(torch.zeros(2, 3, 2, 2), torch.zeros(2))]


def parameters(model, batches):
    return -float(sum(p.numel() for p in model.parameters()))


number = 3
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(USER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", __import__("sys").path.copy())
    return path


def small() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Linear(4, 2))


def test_a_factory_in_a_file(user: Path) -> None:
    model = load_model(f"{user}:network")
    assert not model.training
    assert model(torch.zeros(1, 3, 2, 2)).shape == (1, 2)


def test_a_factory_in_a_module_of_the_working_folder(user: Path) -> None:
    (user.parent / "in_folder.py").write_text(USER)
    assert isinstance(load_model("in_folder:network"), nn.Sequential)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("mine.py", "'mine.py' names no object; write file.py:name"),
        ("nine.py:network", r"there is no file nine.py \(did you mean mine.py\?\)"),
        ("mine.py:netwrok", r"mine.py has no 'netwrok' \(did you mean network\?\)"),
        ("no_such_module:network", "no_such_module cannot be imported: ModuleNotFoundError"),
        ("mine.py:broken", r"mine.py:broken failed: OSError: no such checkpoint \(.*mine.py:18\)"),
        ("mine.py:number", "mine.py:number is a int, expected a function or a module"),
        ("mine.py:loaders", "mine.py:loaders returned a tuple, expected a torch.nn.Module"),
    ],
)
def test_a_model_that_is_not_there(user: Path, spec: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        load_model(spec)


COUNTED = """
import sys

sys.counted = getattr(sys, "counted", 0) + 1


class Knob:
    pass


def number():
    return NUMBER


def knob():
    return Knob()
"""


@pytest.fixture
def counted(user: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sys.counted", 0, raising=False)
    path = user.with_name("counted.py")
    path.write_text(COUNTED.replace("NUMBER", "1"))
    return path


def executions() -> int:
    return int(sys.counted)  # type: ignore[attr-defined]


def test_a_file_is_executed_once_however_it_is_written(counted: Path) -> None:
    numbers = [
        load_object(f"{place}:{name}")
        for place in (counted, counted.name, f"../{counted.parent.name}/{counted.name}")
        for name in ("number", "knob")
    ]
    assert executions() == 1
    assert len({id(each.__globals__) for each in numbers}) == 1


def test_a_file_that_was_edited_is_executed_anew(counted: Path) -> None:
    """Also within the second and with the same size, which cached bytecode does not tell apart."""
    before = load_object("counted.py:number")
    counted.write_text(COUNTED.replace("NUMBER", "2"))
    assert (before(), load_object("counted.py:number")()) == (1, 2)
    assert executions() == 2


def test_files_of_one_stem_are_two_modules(counted: Path) -> None:
    other = counted.parent / "other" / counted.name
    other.parent.mkdir()
    other.write_text(COUNTED.replace("NUMBER", "2"))
    first, second = (load_object(f"{path}:knob") for path in (counted, other))
    assert (load_object(f"{counted}:number")(), load_object(f"{other}:number")()) == (1, 2)
    assert first.__module__ != second.__module__
    for made in (first(), second()):
        assert type(pickle.loads(pickle.dumps(made))) is type(made)


def test_a_file_that_fails_leaves_no_module_and_is_tried_again(counted: Path) -> None:
    working = counted.read_text()
    known = set(sys.modules)
    counted.write_text(working + "\nraise OSError('not yet')\n")
    with pytest.raises(ModelError, match=r"counted.py cannot be imported: OSError: not yet"):
        load_object("counted.py:number")
    assert not {name for name in sys.modules.keys() - known if "counted" in name}
    counted.write_text(working)
    assert load_object("counted.py:number")() == 1


def test_a_file_that_is_no_python(user: Path) -> None:
    user.write_text("def network(:\n")
    with pytest.raises(ModelError, match=r"mine.py cannot be imported: SyntaxError: .*line 1"):
        load_object("mine.py:network")


@pytest.mark.parametrize("scheme", ["plain", "state_dict", "model", "parallel"])
def test_weights_in_the_forms_that_people_keep(tmp_path: Path, scheme: str) -> None:
    trained, model = small(), small()
    state: dict[str, Any] = trained.state_dict()
    if scheme == "parallel":
        state = {f"module.{key}": value for key, value in state.items()}
    torch.save({scheme: state} if scheme in ("state_dict", "model") else state, tmp_path / "w.pt")
    load_weights(model, tmp_path / "w.pt")
    assert all(map(torch.equal, model.state_dict().values(), trained.state_dict().values()))


def test_weights_that_do_not_fit_name_the_first_keys(tmp_path: Path) -> None:
    state = small().state_dict()
    state["1.weight"] = torch.zeros(5, 12)
    del state["2.bias"]
    state["head.bias"] = torch.zeros(2)
    torch.save(state, tmp_path / "w.pt")
    message = (
        "missing 2.bias; unexpected head.bias; "
        "wrong shape: 1.weight is (5, 12), the model has (4, 12)"
    )
    with pytest.raises(ModelError, match=re.escape(message)):
        load_weights(small(), tmp_path / "w.pt")


def test_many_keys_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    torch.save({f"old.{i}": torch.zeros(1) for i in range(9)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"unexpected old.0, old.1, old.2 and 6 more"):
        load_weights(small(), tmp_path / "w.pt")


def test_weights_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    with pytest.raises(ModelError, match="there is no weights file"):
        load_weights(small(), path)
    torch.save(small().state_dict(), path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ModelError, match=r"w.pt cannot be read as a state dict: RuntimeError"):
        load_weights(small(), path)
    torch.save([1, 2], path)
    with pytest.raises(ModelError, match="holds a list, expected a state dict"):
        load_weights(small(), path)


def test_a_pickled_model_is_not_read(tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match="cannot be read as a state dict: UnpicklingError"):
        load_weights(small(), tmp_path / "w.pt")


def test_a_shuffling_loader_gives_the_same_calibration_inputs(user: Path) -> None:
    state = torch.random.get_rng_state()
    first, second = (load_data("mine.py:loaders", 4, seed=1) for _ in range(2))
    other = load_data("mine.py:loaders", 4, seed=2)
    assert torch.equal(first.calibration.inputs, second.calibration.inputs)
    assert not torch.equal(first.calibration.inputs, other.calibration.inputs)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (first.calibration.images, first.validation.images) == (4, 8)
    assert first.test is not None
    assert first.training is not None


def test_training_data_that_can_be_read_once_is_not_kept_for_fine_tuning() -> None:
    batch = (torch.zeros(2, 3, 2, 2), torch.zeros(2))
    data = make_data((iter([batch]), [batch]), 10)
    assert data.training is None
    assert data.calibration.images == 2


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("mine.py:one_part", r"gave a list of 1, expected \(training, validation\)"),
        ("mine.py:number", "mine.py:number is a int, expected a function"),
        ("mine.py:broken", "mine.py:broken failed: OSError"),
        ("mine.py:loader", r"has no 'loader' \(did you mean loaders\?\)"),
    ],
)
def test_data_that_is_not_as_described(user: Path, spec: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        load_data(spec, 10)


def test_parts_that_differ_in_shape() -> None:
    parts = [(torch.zeros(2, 3, 2, 2), 0)], [(torch.zeros(2, 1, 2, 2), 0)]
    with pytest.raises(DataError, match=r"training inputs of data are \(3, 2, 2\), its validation"):
        make_data(parts, 10)


def some_data(shape: tuple[int, ...] = (4, 3, 2, 2)) -> Data:
    batches = Batches(((torch.zeros(shape), torch.zeros(len(torch.zeros(shape))).long()),))
    return Data(batches, batches)


def test_the_forward_pass_is_tried() -> None:
    check_forward(small(), some_data())
    with pytest.raises(DataError, match=r"does not take inputs of shape \(1, 3, 5, 5\): Runtime"):
        check_forward(small(), some_data((4, 3, 5, 5)))
    bad = small()
    nn.init.constant_(bad[2].bias, torch.inf)  # type: ignore[index]
    with pytest.raises(ModelError, match="NaN or infinite"):
        check_forward(bad, some_data())


def test_a_score_of_the_user(user: Path) -> None:
    assert load_score(None, small()) is top1_accuracy
    assert load_score("mine.py:parameters", small())(small(), []) == -62.0


def test_logits_are_compared_with_the_model_as_it_came(user: Path) -> None:
    dense, other, batches = small(), small(), [(torch.randn(4, 3, 2, 2), None)]
    score = load_score("logits", dense)
    assert score(dense, batches) == 0.0
    assert score(other, batches) < 0.0
    assert load_score("psnr", dense) is psnr
    with pytest.raises(DataError, match="score 'logit' is not understood: write logits, psnr, "):
        load_score("logit", dense)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (float("nan"), "score mine returned nan, expected a finite number"),
        ("high", "score mine returned a str, expected a number"),
        (torch.zeros(3), "score mine returned a Tensor, expected a number"),
    ],
)
def test_a_score_that_is_no_number_is_named(answer: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        checked_score(lambda model, batches: answer, "mine")(small(), [])


def test_a_score_that_fails_is_named() -> None:
    with pytest.raises(DataError, match="score mine failed: ZeroDivisionError"):
        checked_score(lambda model, batches: 1 / 0, "mine")(small(), [])
