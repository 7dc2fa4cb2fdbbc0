"""Exported programs are read, cut and refused as the models that they were exported from."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from exported_networks import Layers, Maps, Several, Tokens, exported, made
from torch import Tensor, nn
from torch.nn import functional as F

from automl.errors import ModelError
from automl.network.traced_model import TracedModel, fingerprint_of, trace_network
from automl.userdata.exported import from_exported, is_exported, load_exported
from automl.userdata.models import load_model, plain_model

IMAGES = (1, 3, 16, 16)


def what_is_read(traced: TracedModel) -> tuple[object, ...]:
    network = traced.network
    return (
        [(group.name, group.channels) for group in network.groups],
        [block.name for block in network.blocks],
        [(layer.name, layer.op, layer.macs) for layer in network.layers],
        [(part.name, part.reason) for part in network.unprunable],
    )


@pytest.mark.parametrize(
    ("kind", "form"),
    [(Maps, "one"), (Maps, "any"), (Maps, "core"), (Layers, "one"), (Layers, "any")],
)
def test_a_program_is_read_as_the_model_that_it_was(kind: type[nn.Module], form: str) -> None:
    model = made(kind)
    network = from_exported(exported(model, form=form))
    inputs = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(network(inputs), model(inputs))
    assert fingerprint_of(network) == fingerprint_of(model)
    expected = what_is_read(trace_network(model, IMAGES))
    assert what_is_read(trace_network(network, IMAGES)) == expected


@pytest.mark.parametrize("form", ["one", "any"])
def test_heads_stay_open_where_the_program_has_their_number(form: str) -> None:
    model = made(Tokens)
    network = from_exported(exported(model, form=form))
    inputs = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(network(inputs), model(inputs))
    read = trace_network(network, IMAGES).network
    assert [group.name for group in read.groups] == ["patch", "blocks.0.qkv", "blocks.1.qkv"]
    assert [block.name for block in read.blocks] == ["blocks.0", "blocks.1"]
    assert {part.name for part in read.unprunable} == {"blocks.0.qkv#2", "blocks.1.qkv#2"}


def test_a_module_of_a_program_and_a_file_are_read_too(tmp_path: Path) -> None:
    model = made(Maps)
    program = exported(model)
    torch.export.save(program, tmp_path / "net.pt2")
    inputs = torch.randn(2, 3, 16, 16)
    given = [program, program.module(), load_exported(tmp_path / "net.pt2")]
    for network in [*map(from_exported, given), load_model(str(tmp_path / "net.pt2"))]:
        assert not network.training
        torch.testing.assert_close(network(inputs), model(inputs))
    assert plain_model(program).model.get_submodule("stem").weight is model.stem.weight
    assert is_exported(program.module())
    assert not is_exported(from_exported(program))
    assert not is_exported(torch.fx.symbolic_trace(model))


def test_inputs_and_outputs_keep_their_forms() -> None:
    model = made(Several)
    a, b = torch.randn(2, 5), torch.randn(2, 3)
    network = from_exported(exported(model, a, b))
    found = network(torch.cat([a, a]), b=torch.cat([b, b]))
    torch.testing.assert_close(found["features"][2:], model(a, b)["features"])
    assert list(found) == ["logits", "features"]


class Mixed(nn.Module):
    """What one image gives depends on the others in its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 16 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1)) - x.mean()


@pytest.mark.parametrize("said", ["batches of 2 alone", "training mode", "no exported program"])
def test_refused_in_one_line(said: str, tmp_path: Path) -> None:
    if said == "training mode":
        given = torch.export.export(made(Maps).train(), (torch.randn(2, 3, 16, 16),))
    elif said == "batches of 2 alone":
        given = exported(made(Mixed), torch.randn(2, 3, 16, 16))
    else:
        (tmp_path / "net.pt2").write_text("no program")
        with pytest.raises(ModelError, match=said):
            load_exported(tmp_path / "net.pt2")
        with pytest.raises(ModelError, match="there is no file"):
            load_exported(tmp_path / "other.pt2")
        return
    with pytest.raises(ModelError, match=said) as caught:
        from_exported(given)
    assert "\n" not in str(caught.value)


def test_integers_are_refused() -> None:
    program = exported(made(Maps))
    graph = torch.fx.GraphModule(program.module(), program.module().graph)
    node = next(node for node in graph.graph.nodes if "relu" in str(node.target))
    node.target = torch.ops.quantized.relu6.default
    with pytest.raises(ModelError, match="quantized already"):
        from_exported(graph)


def test_a_weight_that_no_layer_had_alone_becomes_one_of_its_own() -> None:
    class Raw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.stem = nn.Parameter(torch.rand(4, 8, 1, 1)), nn.Conv2d(3, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(self.stem(x), self.weight).mean((2, 3))

    model = made(Raw)
    network = from_exported(exported(model))
    assert [group.name for group in trace_network(network, IMAGES).network.groups] == ["stem"]


class Touched:
    """Unpickled it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("part", ["weights/weight_0", "sample_inputs/model.pt"])
def test_a_file_runs_no_code(part: str, tmp_path: Path) -> None:
    torch.export.save(exported(made(Maps)), tmp_path / "net.pt2")
    held = io.BytesIO()
    torch.save(Touched(tmp_path / "ran"), held)
    with ZipFile(tmp_path / "net.pt2") as found, ZipFile(tmp_path / "bad.pt2", "w") as bad:
        for entry in found.infolist():
            content = found.read(entry)
            if entry.filename.endswith("weights_config.json") and "weight" in part:
                content = content.replace(b'"use_pickle": false', b'"use_pickle": true')
            if entry.filename.endswith(part):
                content = held.getvalue()
            bad.writestr(entry, content)
    with pytest.raises(ModelError, match="no exported program"):
        load_exported(tmp_path / "bad.pt2")
    assert not (tmp_path / "ran").exists()
    load_exported(tmp_path / "net.pt2")


@pytest.mark.parametrize("name", ["opaque_obj_0", "custom_obj_0"])
def test_an_object_that_is_no_tensor_is_not_read(name: str, tmp_path: Path) -> None:
    torch.export.save(exported(made(Maps)), tmp_path / "net.pt2")
    entry = json.dumps({"config": {"x": {"path_name": name, "is_param": False,
                        "use_pickle": True, "tensor_meta": None}}})  # fmt: skip
    with ZipFile(tmp_path / "net.pt2") as found, ZipFile(tmp_path / "bad.pt2", "w") as bad:
        for each in found.infolist():
            constants = each.filename.endswith("constants_config.json")
            bad.writestr(each, entry if constants else found.read(each))
        top = found.namelist()[0].partition("/")[0]
        held = pickle.dumps(Touched(tmp_path / "ran"))
        bad.writestr(f"{top}/data/constants/{name}", held)
    with pytest.raises(ModelError, match=f"no tensor \\({name}\\), which is not read"):
        load_exported(tmp_path / "bad.pt2")
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    torch.export.save(exported(made(Maps)), tmp_path / "net.pt2")
    whole = (tmp_path / "net.pt2").read_bytes()
    for share in (0.3, 0.99):
        (tmp_path / "net.pt2").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ModelError, match="no exported program"):
            load_exported(tmp_path / "net.pt2")


def test_a_torch_that_knows_no_opaque_objects_will_do() -> None:
    """As 2.11 is, with which nothing could be imported."""
    script = (
        "from torch.export.pt2_archive import constants\n"
        "del constants.OPAQUE_OBJ_FILENAME_PREFIX\n"
        "import automl.userdata.exported\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
