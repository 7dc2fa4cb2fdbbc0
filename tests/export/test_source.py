"""Networks become source of plain torch that computes the same without the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import zoo
import zoo_tokens
from torch import Tensor, nn
from torch.nn import functional as F

from automl.errors import ModelError
from automl.export.source import source_of, weights_beside, write_source
from automl.network.input_form import form_of, taking_rows
from automl.network.surgery import smaller
from automl.network.traced_model import trace_network
from quantised import Net, all_layers, quantised

SHAPE = (1, 3, 16, 16)


class Upsampling(nn.Module):
    """Half the size and back by interpolation, beside what was before."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.down, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.up, self.out = nn.Conv2d(12, 8, 3, padding=1), nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.down(x))
        y = F.relu(self.inner(F.max_pool2d(x, 2)))
        y = F.interpolate(y, size=x.shape[2:], mode=self.mode)
        return self.out(torch.cat([x, F.relu(self.up(y))], 1))


class Unusual(nn.Module):
    """A name that is a number, a buffer, a constant, what is taken apart or done in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.add_module("0", nn.Conv2d(8, 8, 3, padding="same", groups=2))
        self.register_buffer("shift", torch.rand(8, 1, 1))
        self.named = nn.Module()
        self.named.scale = nn.Parameter(torch.rand(1))
        self.norm, self.recurrent = nn.GroupNorm(2, 8), nn.GRU(8, 5, batch_first=True)
        self.act = nn.PReLU(8)

    def forward(self, x: Tensor) -> Tensor:
        x = getattr(self, "0")(self.first(x)) + self.shift
        x = self.norm(x).relu_()
        first, second = self.act(x).chunk(2, 1)
        x = torch.cat(
            [second * torch.tensor([2.0]), first[:, :, 1:-1].mean(2, keepdim=True) + first], 1
        )
        return self.recurrent(x.flatten(2).transpose(1, 2))[0].clamp(min=-1.0) * self.named.scale


NETWORKS: dict[str, nn.Module] = {}


def networks() -> dict[str, nn.Module]:
    """The networks, those of the zoo with three quarters of the channels that can go."""
    if NETWORKS:
        return NETWORKS
    torch.manual_seed(0)
    kinds = (zoo.Residual, zoo.Inverted, zoo.Dense, zoo.ShuffleV2, zoo.Chain)
    made = {kind.__name__: kind() for kind in (*kinds, zoo_tokens.Transformer, zoo_tokens.Encoder)}
    made |= {mode: Upsampling(mode) for mode in ("nearest", "bilinear")}
    for name, model in made.items():
        traced = trace_network(model.eval(), SHAPE, resolutions=())
        kept = {
            group.name: torch.arange(-(-3 * group.channels // 4)) for group in traced.network.groups
        }
        NETWORKS[name] = smaller(traced.model, traced.network.groups, kept, frozenset()).eval()
        assert kept
    NETWORKS["Unusual"], NETWORKS["Pixels"] = Unusual().eval(), zoo_tokens.Pixels().eval()
    return NETWORKS


#: Without the program: its name cannot be imported.
RUNS = """
import importlib, sys, torch
sys.modules["automl"] = None
inputs = torch.load("inputs.pt", weights_only=True)
for name in sys.argv[1:]:
    network = importlib.import_module(name).load()
    with torch.no_grad():
        torch.save(network(inputs), f"{name}.out")
    network.train()(inputs).sum().backward()
    assert all(each.grad is not None for each in network.parameters()), name
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source")
    inputs = torch.randn(3, *SHAPE[1:], generator=torch.Generator().manual_seed(1))
    torch.save(inputs, path / "inputs.pt")
    for name, model in networks().items():
        write_source(model, SHAPE, path / f"{name}.py", inputs, what=f"{name} of the zoo.")
    subprocess.run(
        [sys.executable, "-c", RUNS, *networks()], cwd=path, check=True, env={"PYTHONPATH": "."}
    )
    return path


@pytest.mark.parametrize("name", [*networks()])
def test_a_source_computes_what_the_network_does_without_the_program(
    name: str, folder: Path
) -> None:
    inputs = torch.load(folder / "inputs.pt", weights_only=True)
    with torch.no_grad():
        expected = networks()[name](inputs)
    found = torch.load(folder / f"{name}.out", weights_only=True)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_source_has_the_users_names_and_reads_like_their_code() -> None:
    model = networks()["Residual"]
    source = source_of(model, SHAPE, torch.randn(2, *SHAPE[1:]))
    assert source.tensors.keys() == model.state_dict().keys()
    assert "        self.stage2 = nn.Sequential(Stage2_0(), Stage2_1())\n" in source.text
    assert "torch.ops" not in source.text
    assert max(map(len, source.text.splitlines())) <= 100
    compile(source.text, "model.py", "exec")


def test_weights_load_into_the_network_that_they_are_from(folder: Path) -> None:
    model = networks()["Inverted"]
    state = torch.load(weights_beside(folder / "Inverted.py"), weights_only=True)
    model.load_state_dict(state, strict=True)


def test_the_same_network_gives_the_same_source() -> None:
    inputs = torch.randn(2, *SHAPE[1:])
    first, second = (source_of(networks()["Dense"], SHAPE, inputs).text for _ in range(2))
    assert first == second


class OnValues(nn.Module):
    """What it does depends on what it is shown."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def holding(part: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(nn.ReLU(), part)).eval()


def test_what_depends_on_values_is_refused_by_the_name_of_its_layer() -> None:
    with pytest.raises(
        ModelError, match=r"^1\.1 cannot be written as source: what it does"
    ) as told:
        source_of(holding(OnValues()), SHAPE, torch.randn(2, *SHAPE[1:]))
    assert "\n" not in str(told.value)


@torch.library.custom_op("automl_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return x * 2


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Foreign(nn.Module):
    """Calls an operator that is not torch's."""

    def forward(self, x: Tensor) -> Tensor:
        return twice(x)


def test_operators_of_others_are_refused_by_the_name_of_their_layer() -> None:
    with pytest.raises(ModelError, match=r"^1\.1 cannot be written .* automl_tests::twice"):
        source_of(holding(Foreign()), SHAPE, torch.randn(2, *SHAPE[1:]))


class Branching(nn.Module):
    """Control flow that torch can capture."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))


def test_control_flow_that_torch_captures_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot be written as source") as told:
        source_of(holding(Branching()), SHAPE, torch.randn(2, *SHAPE[1:]))
    assert "\n" not in str(told.value)


class Several(nn.Module):
    """Takes two tensors, one by name, and gives a mapping and a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(5, 8), nn.Linear(3, 8)

    def forward(self, a: Tensor, b: Tensor) -> dict[str, object]:
        both = F.relu(self.left(a)) + self.right(b)
        return {"all": both, "parts": (a, [both.mean(1)])}


@pytest.mark.parametrize("style", ["keyword", "one"])
def test_several_inputs_and_outputs_keep_their_forms(style: str) -> None:
    model = (Several() if style == "keyword" else Wrapped()).eval()
    form = form_of({"a": torch.rand(4, 5), "b": torch.rand(4, 3)})
    rows = form.pack({"a": torch.rand(4, 5), "b": torch.rand(4, 3)})
    taking = taking_rows(model, form, style, rows[:1], copies=False)
    source = source_of(taking, rows[:1].shape, rows)
    assert source.difference < 1e-6
    space: dict[str, object] = {"__file__": "model.py"}
    exec(source.text, space)
    network = space[type(model).__name__]()
    network.load_state_dict(source.tensors)
    a, b = torch.rand(2, 5), torch.rand(2, 3)
    given, named = ((), {"a": a, "b": b}) if style == "keyword" else (({"a": a, "b": b},), {})
    found, expected = network(*given, **named), model(*given, **named)
    assert list(found) == ["all", "parts"]
    torch.testing.assert_close(found, expected)


class Wrapped(Several):
    """Takes the same in one mapping."""

    def forward(self, batch: dict[str, Tensor]) -> dict[str, object]:
        return super().forward(**batch)


def test_a_network_of_integers_is_refused() -> None:
    traced = trace_network(Net().eval(), SHAPE, resolutions=())
    model = quantised(traced, all_layers(traced), "qdq-u8s8")
    with pytest.raises(ModelError, match="computes in integers"):
        source_of(model, SHAPE, torch.randn(2, *SHAPE[1:]))
