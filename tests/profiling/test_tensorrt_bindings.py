"""Every name and call of TensorRT and CUDA in the worker, held against the real bindings.

The bindings load without a GPU when nine C symbols of the missing libraries exist, each returning
nothing: classes, members and signatures can be looked up, nothing can be built. What the worker
uses is read from its source, so that this cannot go stale.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tensorrt_replay import CLASSES
from wheels import unpacked

import automl.profiling
from automl.latency.keys import OpKey
from automl.profiling.bundle import worker_bundle
from automl.profiling.microbench import probe
from automl.profiling.runner import Asked, Limits, RuntimeInfo, request
from automl.profiling.worker_tensorrt import SIGNATURES

SOURCE = Path(automl.profiling.__file__).with_name("worker_tensorrt.py")
#: JetPack 6's version, and the newest.
VERSIONS = {
    "10.3.0": "tensorrt_cu12_bindings==10.3.0",
    "11.4": "tensorrt_cu13_bindings==11.4.0.106",
}
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
#: Names of variables in the worker's source, and the class of what they hold.
VARIABLES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "cache": "ITimingCache",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
}
#: Methods whose result is used on the spot, and its class.
RESULTS = {"get_timing_cache": "ITimingCache", "get_error": "ParserError"}


@dataclass(frozen=True)
class Use:
    """A name under the module, and the arguments that it is called with (None: not called)."""

    name: str
    arguments: int | None


def dotted(node: ast.expr) -> str:
    """The name that an expression stands for below the module, "" where it is none of its."""
    if isinstance(node, ast.Name):
        return VARIABLES.get(node.id, "trt" if node.id == "trt" else "")
    if isinstance(node, ast.Attribute):
        if ast.unparse(node) == "self.trt":
            return "trt"
        owner = dotted(node.value)
        return f"{owner}.{node.attr}".removeprefix("trt.") if owner else ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return RESULTS.get(node.func.attr, "")
    return ""


def uses() -> set[Use]:
    """All names of TensorRT in the worker's source."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (name := dotted(node)) and name != "trt":
            call = called.get(id(node))
            assert call is None or not call.keywords, f"{name}: arguments by position only"
            found.add(Use(name, None if call is None else len(call.args)))
    return found


def cuda_calls() -> dict[str, set[int]]:
    """Functions of CUDA in the worker's source, and the numbers of arguments in their calls."""
    found: dict[str, set[int]] = {}
    for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.args[0].value
            if ast.unparse(node.func).split(".")[-1] == "call" and str(name).startswith("cuda"):
                found.setdefault(name, set()).add(len(node.args) - 1)
    return found


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libraries of the needed names, for both versions."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc to make libraries with")
    folder = tmp_path_factory.mktemp("stubs")
    code = "\n".join(f"void *{name}(void) {{ return 0; }}" for name in SYMBOLS)
    for major in (10, 11):
        for library in LIBRARIES:
            name = f"lib{library}.so.{major}"
            command = ["gcc", "-shared", "-fPIC", "-xc", "-", "-o", str(folder / name)]
            subprocess.run([*command, f"-Wl,-soname,{name}"], input=code, text=True, check=True)
    return folder


@dataclass(frozen=True)
class Bindings:
    """Real bindings in a process of their own."""

    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: str, text: str = "") -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, input=text, env=self.environment, capture_output=True, text=True, check=True
        ).stdout


@pytest.fixture(scope="module", params=VERSIONS)
def bindings(
    request: pytest.FixtureRequest, stubs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bindings:
    """The bindings of one version, importable as `tensorrt`."""
    content = unpacked(VERSIONS[request.param])
    shim = tmp_path_factory.mktemp("shim")
    text = "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"
    (shim / "tensorrt.py").write_text(text)
    numpy_folder = str(Path(np.__file__).parents[1])
    path = os.pathsep.join((str(shim), str(content), numpy_folder))
    environment = {"LD_LIBRARY_PATH": str(stubs), "PYTHONPATH": path, "PATH": os.environ["PATH"]}
    return Bindings(content, environment)


LOOK_UP = """
import json, sys
import tensorrt
found = {}
for name in json.load(sys.stdin):
    value = tensorrt
    for part in name.split("."):
        value = getattr(value, part, None)
    if isinstance(value, type):
        value = value.__init__
    found[name] = None if value is None else value.__doc__ or ""
print(json.dumps(found))
"""


def look_up(bindings: Bindings, names: list[str]) -> dict[str, str | None]:
    """Docstring of each name under the module (a class's is its constructor's), None if absent."""
    found: dict[str, str | None] = json.loads(bindings.run("-c", LOOK_UP, text=json.dumps(names)))
    return found


def arities(documentation: str, name: str) -> Iterator[range]:
    """Numbers of arguments, without self, that the signatures in a docstring take."""
    for parameters in re.findall(rf"{name}\((self[^\n]*)\) ->", documentation):
        plain = parameters
        while (shorter := re.sub(r"\[[^\[\]]*\]|<[^<>]*>", "", plain)) != plain:
            plain = shorter
        others = [part for part in plain.split(",")[1:] if part.strip()]
        needed = [part for part in others if "=" not in part]
        yield range(len(needed), len(others) + 1)


def test_signatures_are_read() -> None:
    text = (
        "set(self: a.B, cache: a.C, ignore: bool) -> bool\n"
        "2. set(self: a.B, size: tuple[int, int] = (), kind: E = <E.X: 0>) -> None\n"
    )
    assert list(arities(text, "set")) == [range(2, 3), range(0, 3)]


def test_the_file_needs_no_more_than_a_board_has() -> None:
    """Python of JetPack 6 is 3.10; the worker keeps to 3.8."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 8))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [alias.name for alias in node.names if isinstance(node, ast.Import)]
        + [getattr(node, "module", None) or ""]
        if name
    }
    assert names - sys.stdlib_module_names == {"numpy"}


def test_the_source_is_read() -> None:
    names = {use.name for use in uses()}
    assert {
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "MemoryPoolType.WORKSPACE",
        "IExecutionContext.execute_async_v3",
        "ITimingCache.serialize",
        "ParserError.desc",
        "TensorIOMode.INPUT",
    } <= names
    assert {name.split(".")[0] for name in names} >= set(VARIABLES.values()) - {
        "INetworkDefinition",  # made and handed on
        "ITimingCache",
    }
    assert not any("DLA" in name or "dla" in name for name in names)
    assert set(cuda_calls()) | {"cudaEventDestroy", "cudaStreamDestroy"} == set(SIGNATURES)


def test_every_name_exists_with_the_arguments_that_it_is_called_with(bindings: Bindings) -> None:
    used = sorted(uses(), key=lambda use: use.name)
    found = look_up(bindings, [use.name for use in used])
    missing = [name for name, documentation in found.items() if documentation is None]
    assert not missing
    for use in used:
        documentation = found[use.name] or ""
        short = use.name.split(".")[-1]
        if use.arguments is None or "self" not in documentation:  # a member, a plain function
            continue
        given = use.arguments - (short == "__init__")  # called on the class, with self
        taken = list(arities(documentation, "__init__" if short[0].isupper() else short))
        assert taken, documentation
        assert any(given in numbers for numbers in taken), (use, documentation)


def test_the_replay_has_nothing_that_the_bindings_lack(bindings: Bindings) -> None:
    names = [
        f"{kind.__name__}.{name}"
        for kind in CLASSES
        for name in {**vars(kind), **getattr(kind, "__annotations__", {})}
        if not name.startswith("_")
    ]
    assert len(names) > 20
    found = look_up(bindings, names)
    assert not [name for name in names if found[name] is None]


def test_cuda_is_called_as_it_is_declared() -> None:
    for name, numbers in cuda_calls().items():
        assert numbers == {len(SIGNATURES[name][1])}, name


@pytest.mark.parametrize(
    ("requirement", "library"),
    [
        ("nvidia-cuda-runtime-cu12==12.9.79", "nvidia/cuda_runtime/lib/libcudart.so.12"),
        ("nvidia-cuda-runtime==13.0.96", "nvidia/cu13/lib/libcudart.so.13"),
    ],
)
def test_cuda_functions_are_in_the_library(requirement: str, library: str) -> None:
    path = unpacked(requirement) / library
    code = (
        "import ctypes, sys, worker_tensorrt as w\n"
        "cuda = w.CudaLibrary(ctypes.CDLL(sys.argv[1]))\n"
        "try: print(cuda.call('cudaStreamCreate'))\n"
        "except w.DeviceError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={
            "PYTHONPATH": os.pathsep.join((str(SOURCE.parent), str(Path(np.__file__).parents[1])))
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("cudaStreamCreate: ") or int(done.stdout)


def test_without_a_gpu_the_worker_names_the_reason_and_lives(
    bindings: Bindings, tmp_path: Path
) -> None:
    file = tmp_path / "worker"
    file.write_bytes(worker_bundle())
    version = json.loads(
        bindings.run("-c", "import tensorrt, json; print(json.dumps(tensorrt.__version__))")
    )
    probes = [probe(OpKey("linear", 8, 8, precision="fp16"), "tensorrt")] * 2
    info = RuntimeInfo("tensorrt", version, 1, "any")
    asked = (Asked(number, tuple(probes), Limits(), info, "here") for number in (1, 2))
    lines = ["".join(request(each)) for each in asked]
    answers = [
        json.loads(line) for line in bindings.run(str(file), text="\n".join(lines)).splitlines()
    ]
    hello, *rest = answers
    assert hello["tensorrt"] == version
    assert [line["id"] for line in rest if line.get("done")] == [1, 2]
    errors = [line["error"] for line in rest if "error" in line]
    assert len(errors) == 4
    assert all("cud" in error for error in errors)
