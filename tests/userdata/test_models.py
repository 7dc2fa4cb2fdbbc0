"""The user's model: loaded, unwrapped, and made ready for what the data gives."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from users_file import USER, small

from automl.errors import DataError, ModelError
from automl.network import input_hook
from automl.userdata.data import Batches, Data
from automl.userdata.loading import make_data
from automl.userdata.models import load_model, plain_model, ready_for

Tensor = torch.Tensor


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


def some_data(shape: tuple[int, ...] = (4, 3, 2, 2)) -> Data:
    batches = Batches(((torch.zeros(shape), torch.zeros(len(torch.zeros(shape))).long()),))
    return Data(batches, batches)


def test_the_forward_pass_is_tried() -> None:
    model = small()
    assert ready_for(model, some_data()) is model
    with pytest.raises(DataError, match=r"does not take inputs of shape \(1, 3, 5, 5\): Runtime"):
        ready_for(small(), some_data((4, 3, 5, 5)))
    bad = small()
    nn.init.constant_(bad[2].bias, torch.inf)  # type: ignore[index]
    with pytest.raises(ModelError, match="NaN or infinite"):
        ready_for(bad, some_data())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_what_torch_wraps_a_model_in_is_taken_off() -> None:
    model = small()
    parallel = nn.DataParallel(model)
    assert plain_model(parallel).model is model
    assert plain_model(torch.compile(model)).model is model
    assert plain_model(torch.compile(nn.DataParallel(model))).model is model
    around = nn.Sequential(torch.compile(model), nn.DataParallel(nn.Linear(2, 2)))
    plain = plain_model(around)
    names = ["0.1.weight", "0.1.bias", "0.2.weight", "0.2.bias", "1.weight", "1.bias"]
    assert list(plain.model.state_dict()) == names
    assert list(around.state_dict()) != names  # the user's is left as it is
    assert plain.notes == ()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_floats_are_copied_as_32_bit_ones(kind: torch.dtype) -> None:
    given = small().to(kind)
    ready = plain_model(given)
    word = str(kind).removeprefix("torch.")
    assert ready.notes == (f"the model has {word} weights: it is searched and written in float32",)
    assert {each.dtype for each in ready.model.parameters()} == {torch.float32}
    assert {each.dtype for each in given.parameters()} == {kind}
    assert ready_for(ready.model, some_data()) is ready.model


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TorchScript itself
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: torch.jit.trace(small().eval(), torch.zeros(1, 3, 2, 2)), "a TorchScript model"),
        (lambda: torch.jit.script(small()), "a TorchScript model has no layers"),
        (lambda: unflattened(), "an unflattened program has no layers"),
        (lambda: small().to("meta"), "no weights: 1.weight is on the meta device"),
        (lambda: nn.Flatten, "the model is the class Flatten: give an instance of it"),
        (lambda: small().state_dict(), "an OrderedDict of weights: give the module"),
        (lambda: torch.relu, "give the torch.nn.Module that it is or makes"),
        (lambda: 3, "the model is an int, expected a torch.nn.Module"),
    ],
)
def test_what_has_no_layers_is_refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        plain_model(make())


def test_images_with_their_channels_last_are_told_so() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(2))
    batch = (torch.rand(4, 8, 8, 3), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(DataError, match="torch has the channels of images first"):
        ready_for(model.eval(), make_data(([batch], [batch]), 4))


def unflattened() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch uses what it warns of
        program = torch.export.export(small().eval(), (torch.zeros(1, 3, 2, 2),))
        return torch.export.unflatten(program)


class Meta(nn.Module):
    """A picture and numbers beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.picture, self.beside = nn.Linear(12, 4), nn.Linear(3, 4)
        self.words, self.head = nn.Embedding(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor, *, meta: Tensor, ids: Tensor | None = None) -> Any:
        found = self.picture(x.flatten(1)) + self.beside(meta)
        if ids is not None:
            found = found + self.words(ids).mean(1)
        return {"logits": self.head(found), "features": found, "classes": 2}


class Nested(Meta):
    """The same, that takes one batch."""

    def forward(self, batch: Any) -> Any:  # type: ignore[override]
        return super().forward(batch["x"], meta=batch["rest"][0], ids=batch["rest"][1])


class Pair(Meta):
    """The same, of two arguments."""

    def forward(self, x: Tensor, meta: Tensor) -> Any:  # type: ignore[override]
        return super().forward(x, meta=meta)["logits"]


def numbers(count: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(count, 3, 2, 2, generator=generator),
        torch.randn(count, 3, generator=generator, dtype=torch.float64),
        torch.randint(5, (count, 6), generator=generator),
    )


def batch_of(style: str) -> tuple[nn.Module, Any, Callable[[nn.Module], Any]]:
    """A model, a batch for it without targets, and how a user calls it."""
    x, meta, ids = numbers()
    low = meta.float()
    if style == "keyword":
        return Meta(), {"ids": ids, "x": x, "meta": meta}, lambda m: m(x, meta=low, ids=ids)
    if style == "nested":
        batch = {"x": x, "rest": [low, ids]}
        return Nested(), {"x": x, "rest": [meta, ids]}, lambda m: m(batch)
    return Pair(), (x, meta), lambda m: m(x, low)


@pytest.mark.parametrize("style", ["keyword", "nested", "positional"])
def test_inputs_of_any_nest_are_rows_for_us_and_what_they_were_for_the_model(style: str) -> None:
    model, batch, call = batch_of(style)
    model.eval()
    labels = torch.zeros(4, dtype=torch.long)
    data = make_data(([(batch, labels)], [(batch, labels)]), 10)
    taking = ready_for(model, data)
    rows = data.validation.inputs
    assert rows.dtype == torch.float32
    assert rows.shape == (4, 12 + 3 + (0 if style == "positional" else 6))
    with torch.no_grad():
        expected = logits_of(call(model))
        again = copy.deepcopy(taking)
        for found in (taking(rows), call(taking), again(rows), call(again)):
            assert torch.allclose(logits_of(found), expected, atol=1e-6)
    assert list(taking.state_dict()) == list(model.state_dict())
    assert input_hook(model) is None  # the user's is left as it is


def logits_of(output: Any) -> Tensor:
    found = output if isinstance(output, Tensor) else output["logits"]
    assert isinstance(found, Tensor)
    return found


def test_batches_as_mappings_hold_their_labels_by_name() -> None:
    x, meta, ids = numbers()
    labels = torch.arange(4) % 2
    batches = [{"labels": labels, "x": x, "meta": meta, "ids": ids}]
    data = make_data((batches, batches), 10)
    ((_, kept),) = data.validation
    assert torch.equal(kept, labels)
    assert data.form is not None
    assert data.form.describe() == "x float32 3x2x2, meta float32 3, ids int64 6"
    assert isinstance(ready_for(Meta().eval(), data)(data.validation.inputs), dict)
    alone = make_data(([{"image": x}], [{"image": x}]), 10)  # no keyword of the model's
    assert ready_for(small(), alone)(x).shape == (4, 2)


def test_whole_numbers_reach_the_model_as_such() -> None:
    ids = numbers()[2]
    data = make_data(([(ids, None)], [(ids, None)]), 10)
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(24, 2)).eval()
    taking = ready_for(model, data)
    assert torch.equal(taking(data.validation.inputs), model(ids))
    assert torch.equal(taking(ids), model(ids))
    pixels = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
    data = make_data(([pixels], [pixels]), 10)
    with pytest.raises(DataError, match=r"scale torch\.uint8 images to floats first"):
        ready_for(small(), data)


class Writes(nn.Module):
    """Scales its input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = small()

    def forward(self, x: Tensor) -> Any:
        return self.layers(x.sub_(0.5).mul_(2.0))


def test_a_model_that_writes_into_its_input_gets_copies() -> None:
    x = torch.randn(4, 3, 2, 2)
    before = x.clone()
    data = make_data(([(x, None)], [(x, None)]), 10)
    model = Writes().eval()
    taking = ready_for(model, data)
    first = taking(data.validation.inputs)
    assert torch.equal(first, taking(data.validation.inputs))
    assert torch.equal(x, before)
    assert torch.equal(first, model(x.clone()))


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (lambda x: None, "returns a NoneType without any tensor"),
        (lambda x: {"n": x.mean()}, r"outputs of shape n \(\): none holds a float for each input"),
        (lambda x: (x, x.flatten(1) / 0.0), r"NaN or infinite \(1\)"),
    ],
)
def test_outputs_without_a_finite_float_an_input_are_refused(
    output: Callable[[Tensor], Any], said: str
) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return output(x)

    with pytest.raises(ModelError, match=said):
        ready_for(Odd(), some_data())


def test_batch_norms_without_statistics_are_named() -> None:
    parts = [nn.BatchNorm2d(3, track_running_stats=index == 0) for index in range(5)]
    (note,) = plain_model(nn.Sequential(*parts)).notes
    assert ": 1, 2, 3 and others; what is scored in larger batches" in note
    assert plain_model(nn.Sequential(*parts[:1])).notes == ()
