""".github/CONTRIBUTING.md names what is there, and a package as it describes is searched with."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from tiny import request

import automl.compression
import automl.recovery
import automl.study
import automl.testing
from automl.agents import AGENTS
from automl.cli.flags import flags_of
from automl.compression import FORMS, IMPORTANCES, QUANTIZERS, QuantizedModel
from automl.errors import SpaceError
from automl.methods import REGISTRIES, Registry, registry
from automl.options import ApplyOptions, SearchOptions
from automl.pipeline import SearchResult, search
from automl.profiling import Runtime
from automl.space import KINDS, kind_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
#: Paths on the page that stand for any of their kind.
EXAMPLES = {
    "search/automl/a/b.py",
    "tests/a/test_b.py",
    "latency_tables/NAME.jsonl",
    "tests/benchmarks/scoreboard_FAMILY.py",
}
PACKAGE = '''
"""What another package adds."""

from dataclasses import dataclass, replace

import numpy as np

from automl.compression import Form, Importance, LayerKind, QParams, codebook, highest, round_to
from automl.policy import is_float
from automl.solver import Projection
from automl.study import Agent


class MyAgent(Agent):
    """Proposes one policy: the dense one, lowered at random into the budget."""

    def __init__(self, problem, seed=0):
        vector = Projection(problem).randomly(problem.space.dense, np.random.default_rng(seed))
        self.left = [problem.space.decode(vector)]

    def ask(self, count):
        asked, self.left = self.left, []
        return asked

    def tell(self, trials):
        pass


class MyImportance(Importance):
    """The first channels go first."""

    ranked = []

    def order(self, group, readers, statistics):
        import torch

        self.ranked.append(group.name)
        return torch.arange(group.channels)


@dataclass(frozen=True)
class MyQuantizer:
    """Rounds to powers of two times integers, nothing clipped."""

    correct_bias: bool = True
    ranges: str = "max"

    def round(self, weights, moments, bits, *, refine=True):
        if is_float(bits):
            book = codebook(weights, bits.weights, moments=moments)
            return book.values(), book
        largest = weights.abs().amax(2, keepdim=True).float().clamp_min(1e-12)
        qparams = QParams((largest / highest(bits.weights)).log2().ceil().exp2(), bits.weights)
        return round_to(weights, qparams).float() * qparams.scale, qparams


class MyForm(Form):
    """The first outputs are computed, the others are 0."""

    name = "my-form"

    def refusal(self, parameter, layer):
        return "" if layer.op == "conv2d" and layer.groups == 1 else "it has groups"

    def parameters(self, layer):
        return (1,) if layer.out_channels > 1 else ()

    def lower(self, parameter, layer):
        first = replace(layer, out_channels=parameter)
        after = replace(
            layer, in_channels=parameter, kernel=(1, 1), stride=(1, 1), padding=(0, 0),
            dilation=(1, 1), in_size=layer.out_size,
        )
        return first, after

    def factors(self, parameter, kernel, metric):
        outer = kernel.new_zeros(1, kernel.shape[1], parameter, 1, 1)
        outer[:, :parameter, :, 0, 0] = 1.0
        return kernel[:, :parameter], outer

    def write(self, parameter):
        return str(parameter)

    def read(self, text):
        return int(text)


class MyKind(LayerKind):
    """A 3x3 convolution whose middle alone is left: a 1x1 convolution."""

    name = "my-kind"

    def forms(self, layer):
        around = layer.op == "conv2d" and layer.kernel == (3, 3) and layer.stride == (1, 1)
        return ("middle",) if around else ()

    def operators(self, form, layer):
        return (replace(layer, kernel=(1, 1), padding=(0, 0)),)

    def fit(self, form, module, moments):
        import torch

        weight = torch.zeros_like(module.weight)
        weight[:, :, 1, 1] = module.weight[:, :, 1, 1]
        return weight.detach().flatten(1).unsqueeze(0)

    def replacement(self, form, module):
        from torch import nn

        made = nn.Conv2d(module.in_channels, module.out_channels, 1)
        made.weight.data = module.weight.data[:, :, 1:2, 1:2].clone()
        made.bias.data = module.bias.data.clone()
        return made

    def write(self, form):
        return form

    def read(self, text):
        if text != "middle":
            raise ValueError(f"{text!r} is not the middle")
        return text
'''


def named(pattern: str) -> list[str]:
    """What stands between backticks on the page and is of that form."""
    return [each for each in re.findall(r"`([^`\n]+)`", PAGE) if re.fullmatch(pattern, each)]


def table() -> list[list[str]]:
    """Cells of the page's table of methods, row by row, without its head."""
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def snippet() -> Mapping[str, Mapping[str, str]]:
    """The page's entry points by group."""
    (found,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    points: Mapping[str, Mapping[str, str]] = tomllib.loads(found)["project"]["entry-points"]
    return points


def test_every_path_is_there() -> None:
    paths = named(r"(?:\.?[\w*]+/)+[\w.]*|docs/\w+\.md")
    assert len(set(paths)) > 15
    assert [each for each in paths if each not in EXAMPLES and not (ROOT / each).exists()] == []
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert links
    assert all((ROOT / ".github" / link).exists() for link in links)


def test_every_class_and_option_is_there() -> None:
    places = (automl.study, automl.compression, automl.recovery, automl.testing, automl.space)
    known = {name for place in places for name in place.__all__}
    known |= {Runtime.__name__, SearchOptions.__name__, "AutomlError"}
    classes = set(named(r"[A-Z][a-z]\w+"))
    assert {"Agent", "KindContract", "SpaceSettings"} <= classes <= known
    flags = {each.flag for each in flags_of(SearchOptions, ApplyOptions)}
    assert set(named(r"--[a-z-]+")) <= flags
    assert {field.name for field in fields(SearchOptions)} >= {"kinds", "agent", "target"}


def test_the_commands_are_those_of_the_makefile() -> None:
    goals = re.findall(r"^    make (\w+)", PAGE, re.MULTILINE)
    assert goals == ["test", "check"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{goal}:", makefile, re.MULTILINE) for goal in goals)


def test_the_table_has_every_kind_of_methods_but_runtimes_with_its_line() -> None:
    lines = {row[2].strip("`") for row in table()}
    modules = {maker.partition(":")[0] for kind, maker in REGISTRIES.items() if kind != "runtimes"}
    assert lines == {f"search/{module.replace('.', '/')}.py" for module in modules}


def held() -> dict[str, set[str]]:
    """Names that tests hold to each contract."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
                names = {
                    re.sub(r":[a-z]+=.*", "", str(each.value.value))
                    for each in node.body
                    if isinstance(each, ast.Assign) and isinstance(each.value, ast.Constant)
                    if ast.unparse(each.targets[0]) == "name"
                }
                for base in node.bases:
                    found.setdefault(ast.unparse(base), set()).update(names)
    return found


@pytest.mark.parametrize("row", [row for row in table() if row[0] != "kind of choice"])
def test_every_method_of_ours_is_held_by_its_contract(row: list[str]) -> None:
    (kind,) = (
        each
        for each, maker in REGISTRIES.items()
        if row[2].strip("`").removeprefix("search/")
        == f"{maker.partition(':')[0].replace('.', '/')}.py"
    )
    assert registry(kind).ours.keys() <= held()[row[3].strip("`")]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with the entry points that the page shows, installed while a test lasts."""
    site = tmp_path / "site"
    information = site / "my_methods-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "my_methods.py").write_text(PACKAGE)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-methods\nVersion: 1.0\n")
    points = "\n".join(
        f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in methods.items())
        for group, methods in snippet().items()
    )
    (information / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(site)
    _look_again()
    yield site
    monkeypatch.undo()
    sys.modules.pop("my_methods", None)
    _look_again()


def _look_again() -> None:
    """Registries look for entry points once in a process; here packages come and go."""
    for each in (AGENTS, FORMS, IMPORTANCES, QUANTIZERS, KINDS):
        vars(each).pop("_added", None)


def found(out: Path, **options: object) -> SearchResult:
    """A search of the tiny network on a shipped table."""
    return search(request("s10-small", out, "30%size", resolutions=(), depth=False, **options))


def test_a_package_as_the_page_describes_it_is_searched_with(installed: Path) -> None:
    groups: dict[str, Registry[object]] = {
        each.group: each for each in map(registry, REGISTRIES) if each.group in snippet()
    }
    assert snippet().keys() == groups.keys()
    for group, methods in snippet().items():
        assert groups[group].names()[-1:] == tuple(methods)
        assert not groups[group].get(*methods).fault
    mine = {"agent": "my-agent", "importance": "my-importance", "kinds": ("my-kind",)}
    result = found(installed / "run", precisions=("float",), **mine)
    made_with = result.policy.made_with
    assert made_with is not None
    assert (result.policy.agent, made_with.importance) == ("my-agent", "my-importance")
    assert "stem" in sys.modules["my_methods"].MyImportance.ranked
    assert result.trials == 1
    middles = [
        part for part, text in result.policy.policy.further["my-kind"].items() if text == "middle"
    ]
    assert middles
    for part in middles:
        assert result.model.get_submodule(part).kernel_size == (1, 1)
    both = found(installed / "both", kinds=("my-kind",), precisions=("int8",)).policy.policy
    assert {8} == {bits.weights for bits in both.bits.values()} - {32}


def test_its_form_is_chosen(installed: Path) -> None:
    result = found(installed / "formed", choices="channels,my-form", agent="random", trials=4)
    forms = result.policy.policy.further["form"]
    formed = [part for part, text in forms.items() if text == "my-form:1"]
    assert formed
    for part in formed:
        assert result.model.get_submodule(part)[0].out_channels == 1


def test_its_quantizer_rounds(installed: Path) -> None:
    options = {"precisions": ("int8",), "round_to": 16, "trials": 1}
    model = found(installed / "run", quantization="my-quantizer", **options).model
    assert isinstance(model, QuantizedModel)
    assert model.weights
    for name in model.weights:
        scales = model.scales(name).log2()
        assert torch.equal(scales, scales.round())


def test_without_the_package_its_names_are_unknown() -> None:
    with pytest.raises(SpaceError, match="no kind of choice 'my-kind'"):
        kind_of("my-kind")
