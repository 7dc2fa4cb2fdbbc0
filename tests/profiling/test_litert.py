"""LiteRT in the worker, with a network of one layer written here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from wheels import unpacked

from automl.pipeline.profiling import profile
from automl.pipeline.requests import ProfileRequest
from automl.profiling.bundle import worker_bundle
from automl.profiling.runner import Asked, Limits, Probe, RuntimeInfo
from automl.profiling.runner import request as request_line

#: Writes a fully connected layer (16 to 8) as a .tflite file, with LiteRT's own schema.
WRITE = """
import sys
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

def tensor(name, shape, buffer):
    found = schema.TensorT()
    found.name, found.shape, found.type, found.buffer = name, shape, 0, buffer
    return found

def buffer(content=None):
    found = schema.BufferT()
    found.data = content
    return found

code = schema.OperatorCodeT()
code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
code.version = 1
operator = schema.OperatorT()
operator.inputs, operator.outputs = [0, 1, -1], [2]
operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
operator.builtinOptions = schema.FullyConnectedOptionsT()
graph = schema.SubGraphT()
graph.tensors = [tensor("x", [1, 16], 2), tensor("w", [8, 16], 1), tensor("y", [1, 8], 3)]
graph.inputs, graph.outputs, graph.operators = [0], [2], [operator]
model = schema.ModelT()
model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
weights = np.frombuffer(np.ones((8, 16), np.float32).tobytes(), np.uint8)
model.buffers = [buffer(), buffer(weights), buffer(), buffer()]
builder = flatbuffers.Builder(1024)
builder.Finish(model.Pack(builder), b"TFL3")
open(sys.argv[1], "wb").write(bytes(builder.Output()))
"""


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Variables under which LiteRT can be imported."""
    folders = [unpacked("ai-edge-litert==2.3.0"), unpacked("flatbuffers==25.12.19")]
    path = os.pathsep.join((*map(str, folders), str(Path(np.__file__).parents[1])))
    return {"PYTHONPATH": path, "PATH": os.environ["PATH"]}


@pytest.fixture(scope="module")
def model(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .tflite file."""
    path = tmp_path_factory.mktemp("networks") / "layer.tflite"
    subprocess.run([sys.executable, "-c", WRITE, str(path)], env=environment, check=True)
    return path


def test_a_whole_network_is_timed_and_all_else_refused(
    environment: dict[str, str], model: Path, tmp_path: Path
) -> None:
    worker = tmp_path / "worker"
    worker.write_bytes(worker_bundle())
    content = model.read_bytes()
    probes = [Probe((one,), (1.0,)) for one in (content, b"an ONNX model", content[:40])]
    limits = Limits(spread=1.0, seconds=0.1, pass_seconds=1e-4, min_passes=3, max_passes=3)
    info = RuntimeInfo("litert", "2.3.0", 1, "any")
    line = "".join(request_line(Asked(1, tuple(probes), limits, info, "here")))
    done = subprocess.run(
        [sys.executable, str(worker)],
        input=line,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    hello, *answers = map(json.loads, done.stdout.splitlines())
    assert hello["litert"] == "2.3.0"
    found = {answer["probe"]: answer for answer in answers if "probe" in answer}
    assert found[0]["seconds"] > 0
    assert found[0]["runs"] >= 3
    assert found[1]["error"] == "LiteRT runs .tflite files only, and there is no converter here"
    assert found[2]["error"]
    assert answers[-1]["done"]


def test_the_command_times_a_folder_of_networks(
    environment: dict[str, str], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.pathsep.join(environment["PYTHONPATH"].split(os.pathsep)[:2])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path))
    request = ProfileRequest("my-board", None, (), ops=model.parent, runtime="litert")
    result = profile(request)
    assert result.target.startswith("my-board: LiteRT 2.3.0, threads 1, ")
    assert result.measured == 0
    assert re.match(r"layer\.tflite: [\d.]+ [mµu]?s ± [\d.]+ %$", result.notes[0])
    assert not result.table_path.exists()
