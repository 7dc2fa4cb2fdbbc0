"""Inputs that nobody writes by mistake, and the readers that have to stand them.

A reader may accept an input, or refuse it by an AutomlError of one line. All else is a fault.
"""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import chdir, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from made_runs import outcome, start
from small_tables import conv
from torch import nn

from automl.errors import AutomlError, StudyError
from automl.export.bundle import CARD, write_bundle
from automl.export.packed import (
    IntegerWeights,
    SharedWeights,
    SparseWeights,
    read_packed,
    write_packed,
)
from automl.files import read_holder
from automl.latency.check import check_file
from automl.latency.header import FittedOverhead
from automl.latency.keys import OpKey
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.latency.targets import find_table
from automl.network.layers import Layer, LayerPlan, Network, Width
from automl.options.search import SearchOptions, TaskOptions
from automl.pipeline.calibrating import _read_timings
from automl.pipeline.log import Log
from automl.pipeline.on_the_clock import _kept_factor
from automl.pipeline.packing import inspect
from automl.pipeline.pricing import _read_overhead
from automl.pipeline.profiling import read_operators
from automl.policy.file import check_fits, read_policy
from automl.profiling.imports import import_profile
from automl.report.page import in_script
from automl.report.runs import read_run
from automl.sweep.recipe import read_recipe
from automl.sweep.results import row_from_json
from automl.userdata.loading import load_data
from automl.userdata.settings import read_settings
from automl.userdata.weights import load_weights
from policy_files import NETWORK, policy_file

Mutation = Callable[[bytes, Random], bytes]


@dataclass(frozen=True, slots=True)
class Reader:
    """Something that reads files.

    Attributes:
        name: What it reads.
        file: What the file is called.
        read: Reads the file and uses what was read, as the program does.
        seeds: Makes good files, from which others are made.
        mutate: How others are made.
    """

    name: str
    file: str
    read: Callable[[Path], object]
    seeds: Callable[[], list[bytes]]
    mutate: Mutation


DEEP = json.loads("[" * 40 + "]" * 40)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 1.5, -0.0, 1e308, 1e-308, 5e-324, -1e308, 1e30, 1e-30),
    *(2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**15, 10**16, 10**60, 10**400, 10**5000),
    *(float("nan"), float("inf"), -float("inf")),
    *(
        "",
        " ",
        "x",
        "\0",
        "\x1b[2J",
        "a\nb",
        "\u202e",
        "\ud800",
        "é" * 40,
        "0" * 20_000,
        "../" * 50,
    ),
    *(".".join("a" * 20_000), "_1" * 20_000, "}" * 20_000, "/1" * 20_000, "x" * 70_000),
    *([], {}, [[]], [0], [1, 1], [0, 0], [1, 3, 8, 8], [-1], {"": 0}, {"a": {"b": {}}}, DEEP),
)
#: Pieces of text that are put in where texts are changed byte by byte.
TOKENS: tuple[bytes, ...] = (
    *(
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"1e308",
        b"null",
        b"true",
        b"{}",
        b"[]",
    ),
    *(
        b"9" * 5000,
        b"-" + b"9" * 30,
        b"0x" + b"f" * 5000,
        b"1_000",
        b"0.0",
        b"-0",
        b"\\ud800",
        b"\\u0000",
    ),
    *(
        b"[" * 100,
        b"[" * 20_000,
        b'{"a":' * 2000,
        b"]" * 50,
        b"}",
        b'"',
        b"'",
        b"\\",
        b",",
        b":",
        b"=",
        b"\n",
    ),
    *(b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\x1b[2J", b"\r", b"#", b"."),
    *(
        b"a" + b".a" * 20_000,
        b"\n[a" + b".a" * 500 + b"]\n",
        b'"""',
        b"'''",
        b"\t",
        b"1979-05-27T07:32:00Z",
    ),
)


def of_bytes(content: bytes, random: Random) -> bytes:
    """Bytes flipped, cut, doubled or put in."""
    found = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(found) + 1)
        match random.randrange(6):
            case 0:
                found[at:at] = random.choice(TOKENS)
            case 1:
                found[at : at + random.choice((1, 2, 9))] = random.choice(TOKENS)
            case 2 if found:
                found[min(at, len(found) - 1)] ^= 1 << random.randrange(8)
            case 3:
                del found[at : at + random.choice((1, 3, 40, 4000))]
            case 4:
                found = found[: at if random.random() < 0.3 else len(found)]
            case _:
                size = random.choice((1, 20, 300))
                found[at:at] = found[at : at + size] * random.choice((1, 2, 40))
    return bytes(found)


def _places(value: Any, into: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """All (container, key) of a document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in list(pairs):
        into.append((value, key))
        if isinstance(each, dict | list):
            _places(each, into)
    return into


def of_values(document: Any, random: Random) -> Any:
    """A document of JSON with values changed, gone, doubled or moved."""
    document = json.loads(json.dumps(document)) if isinstance(document, dict | list) else document
    for _ in range(random.choice((1, 1, 2, 3))):
        if not isinstance(document, dict | list) or not document:
            return copy.deepcopy(random.choice(VALUES))
        places = _places(document, [])
        container, key = random.choice(places)
        match random.randrange(7):
            case 0 | 1 | 2:
                container[key] = copy.deepcopy(random.choice(VALUES))
            case 3:
                del container[key]
            case 4 if isinstance(container, dict):
                name = random.choice(VALUES)
                container[name if isinstance(name, str) else str(key) + "x"] = container.pop(key)
            case 5:
                other, place = random.choice(places)
                with suppress(LookupError):
                    container[key] = copy.deepcopy(other[place])
            case _ if isinstance(container, list):
                container.extend(
                    copy.deepcopy(container[key : key + 1]) * random.choice((1, 7, 300))
                )
    return document


def as_json(document: Any, random: Random) -> bytes:
    """JSON of any values, now and then with a key twice."""
    try:
        text = _dumps(document)
    except (ValueError, RecursionError):
        text = "[1]"
    if random.random() < 0.1 and text.startswith("{") and len(text) > 2:
        text = f"{{{text[1:-1]}, {text[1:-1]}}}"
    return text.encode("utf-8", "surrogatepass")


def _dumps(document: Any) -> str:
    """Numbers of thousands of digits are written too, which json would not."""
    numbers: list[int] = []

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, list):
            return [plain(each) for each in value]
        if isinstance(value, int) and value.bit_length() > 10_000:
            numbers.append(value)
            return "@@number@@"
        return value

    return json.dumps(plain(document)).replace('"@@number@@"', "9" * 5000)


def of_json(content: bytes, random: Random) -> bytes:
    """A JSON file with its values changed, or its bytes."""
    if random.random() < 0.35:
        return of_bytes(content, random)
    return as_json(of_values(json.loads(content), random), random)


def of_lines(content: bytes, random: Random) -> bytes:
    """A file of lines of JSON: one of them changed, the first as often as all others."""
    if random.random() < 0.25:
        return of_bytes(content, random)
    lines = content.split(b"\n")
    at = 0 if random.random() < 0.5 else random.randrange(len(lines))
    if lines[at]:
        lines[at] = as_json(of_values(json.loads(lines[at]), random), random)
    if random.random() < 0.1:
        lines.insert(random.randrange(len(lines)), random.choice(lines))
    return b"\n".join(lines)


CONV = Layer("conv", "conv2d", 3, 8, (3, 3), (1, 1), (1, 1), in_size=(8, 8), out_size=(8, 8))
HEAD = Layer("head", "linear", 8, 2)
SMALL = Network(
    tuple(
        LayerPlan(
            each,
            Width(each.in_channels),
            Width(each.out_channels),
            ((each.in_size, each.out_size),),
        )
        for each in (CONV, HEAD)
    ),
    *((), (), (1, 3, 8, 8), (8,)),
)
ROOT = Path(__file__).resolve().parents[2]


def _policy(path: Path) -> None:
    file = read_policy(path)
    hash(file.policy)
    repr(file)
    check_fits(file, NETWORK)


def _table(path: Path) -> None:
    table = find_table(path)
    table.lookup([conv(8, 16), conv(8, 12), OpKey("linear", 4, 4, precision="int8")])
    repr(table.digest)


def _checked_table(path: Path) -> None:
    _, findings = check_file(path, [find_table(ROOT / "latency_tables" / "jetson-nano.jsonl")])
    assert all("\n" not in each.text for each in findings)


def _appended_table(path: Path) -> None:
    LatencyTable.read(path, resume=True).append([Row(conv(3, 7), 1e-6)])


def _settings(path: Path) -> None:
    settings = read_settings(path.parent)
    settings.make(TaskOptions)
    settings.make(SearchOptions)


def _packed(path: Path) -> None:
    for stored in read_packed(path).values():
        assert isinstance(stored, torch.Tensor) or stored.bits in (*range(1, 9), 32)


def _profile(path: Path) -> None:
    import_profile(path, None, SMALL, precision="")


def _layer_info(path: Path) -> None:
    profile = path.with_name("profile.json")
    profile.write_bytes(json.dumps([{"count": 9}, {"name": "conv", "averageMs": 0.1}]).encode())
    import_profile(profile, path, SMALL)


def _timings(path: Path) -> None:
    path.with_name("ops.json").write_text(json.dumps(OPERATORS))
    with chdir(path.parent):  # its first column names files as the command line does
        for _ in _read_timings(Path(path.name), "fp32", read_operators):
            pass


def _record(path: Path) -> None:
    from automl.documents import read_json

    repr(row_from_json(read_json(path, StudyError)))


def _log(path: Path) -> None:
    Log(path, lambda event: None, resume=True)


def _kept(path: Path) -> None:
    """A run's folder that holds one file: what cannot be read of it is said, the rest is shown."""
    with TemporaryDirectory() as place:
        (Path(place) / path.name).symlink_to(path)
        _shown(Path(place))


def _trials(path: Path) -> None:
    with TemporaryDirectory() as place:
        (Path(place) / "log.jsonl").symlink_to(path)
        _shown(Path(place))


def _shown(folder: Path) -> None:
    run = read_run(folder)
    in_script(run)
    if run["problems"]:
        raise StudyError(run["problems"][0])


def _arrays(path: Path) -> None:
    load_data(str(path), 10)


def _weights(path: Path) -> None:
    load_weights(_model(), path)


def _model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Linear(4, 2))


def _recipe(path: Path) -> None:
    read_recipe(path)


def _policies() -> list[bytes]:
    old = (ROOT / "tests" / "policy" / "data" / "schema-1.json").read_bytes()
    return [policy_file().model_dump_json(indent=2).encode(), old]


def _tables() -> list[bytes]:
    fitted = (ROOT / "latency_tables" / "jetson-nano.jsonl").read_bytes()
    header = {
        "name": "a",
        "device": "b",
        "runtime": "c",
        "overhead": {
            "scale": 1.0,
            "seconds_per_operator": 1e-6,
            "seconds_per_call": 1e-5,
            "networks": 3,
            "error": 0.1,
        },
        "known_error": {"relative": 0.1, "on": "nets"},
    }
    rows: list[dict[str, Any]] = [
        {
            "op": "conv2d",
            "in_channels": 8,
            "out_channels": each,
            "kernel": [3, 3],
            "padding": [1, 1],
            "in_size": [8, 8],
            "out_size": [8, 8],
            "seconds": 1e-6 * each,
            "spread": 0.01,
            "runs": 9,
        }
        for each in (8, 16, 32)
    ]
    rows += [
        {
            "op": "lstm",
            "in_channels": 4,
            "out_channels": 4,
            "in_size": [5, 1],
            "seconds": 1e-5,
            "detail": "8",
        }
    ]
    rows += [
        {
            "op": "add",
            "in_channels": 4,
            "out_channels": 4,
            "seconds": 2e-6,
            "source": "fitted",
            "joules": 1e-5,
        }
    ]
    measured = "".join(json.dumps(each) + "\n" for each in (header, *rows)).encode()
    return [fitted, measured]


SETTINGS = b"""model = "nets.py:small"
weights = "w.pt"
data = "nets.py:loaders"
target = "cpu"
budget = ["50%", "4MB"]
trials = 8
time = "10min"
precisions = "int8,w4a6"
input_shape = "3x8x8"
seed = 3
"""
RECIPE = b"""name = "nets"
most_searches = 20

[common]
budget = "60%"
trials = 3

[grid]
target = ["rpi4-1t", "jetson-nano"]
agent = ["random", "uniform"]

[[cases]]
name = "one"
seed = 1

[[cases]]
name = "two"
seed = 2

[ray]
cpus = 1.0
"""
_ORT = [
    {
        "cat": "Node",
        "name": "conv_kernel_time",
        "dur": 12 + run,
        "args": {
            "op_name": "Conv",
            "input_type_shape": [{"float": [1, 3, 8, 8]}, {"float": [8, 3, 3, 3]}],
            "output_type_shape": [{"float": [1, 8, 8, 8]}],
        },
    }
    for run in range(3)
] + [{"cat": "Session", "name": "model_run", "dur": 99, "args": {}}]
_TRT = [
    {"count": 10},
    {"name": "/conv/Conv + /relu/Relu", "averageMs": 0.1, "medianMs": 0.09},
    {"name": "head || other", "averageMs": 0.01},
    {"name": "PWN(a, PWN(b))", "averageMs": 0.02},
]
_LAYERS = {
    "Layers": [
        {
            "Name": "conv",
            "ParameterType": "Convolution",
            "Kernel": [3, 3],
            "Stride": [1, 1],
            "PrePadding": [1, 1],
            "Groups": 1,
            "Inputs": [{"Dimensions": [1, 3, 8, 8], "Format/Datatype": "Channel major FP16"}],
            "Outputs": [{"Dimensions": [1, 8, 8, 8], "Format/Datatype": "FP16"}],
        },
        "head",
    ]
}
_TFLITE = b"""=== Run Order ===
\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]
\tCONV_2D\t0.1\t0.2\t50%\t50%\t0\t1\t[net/conv/Conv2D]:0
\tFULLY_CONNECTED\t0.1\t0.1\t50%\t100%\t0\t1\t[net/head/MatMul]:1

"""


def _profiles() -> list[bytes]:
    return [json.dumps(_ORT).encode(), json.dumps(_TRT).encode(), _TFLITE]


def of_profile(content: bytes, random: Random) -> bytes:
    return of_bytes(content, random) if content == _TFLITE else of_json(content, random)


def _packed_files() -> list[bytes]:
    path = Path("/dev/shm") / f"hostile-{np.random.default_rng().integers(1 << 60)}"
    draw = torch.Generator().manual_seed(0)
    tensors: dict[str, Any] = {
        "a": IntegerWeights(
            torch.randint(-8, 8, (4, 30), generator=draw).to(torch.int8), torch.ones(4), 4
        ),
        "b": SharedWeights(
            torch.tensor([0.5, 1.0, 2.0]),
            torch.randint(0, 3, (5, 9), generator=draw).to(torch.uint8),
            2,
        ),
        "c": torch.arange(6.0).view(2, 3),
        "d": torch.tensor([True, False]),
        "e": IntegerWeights(torch.zeros(4, 200, dtype=torch.int8), torch.ones(4), 8),
        "f": SparseWeights(
            torch.arange(630).view(9, 70) % 7 == 3, torch.ones(90), torch.empty(0).byte(), 32
        ),
        "g": SparseWeights(
            torch.arange(400).view(4, 100) % 9 == 0,
            torch.tensor([0.5, 1.0, 2.0]),
            (torch.arange(45) % 3).byte(),
            2,
        ),
    }
    found = []
    for huffman in (False, True):
        write_packed(path, tensors, huffman=huffman)
        found.append(path.read_bytes())
    path.unlink()
    return found


def of_packed(content: bytes, random: Random) -> bytes:
    """A packed file with another header, or other codes, whose digest is right all the same."""
    if random.random() < 0.2:
        return of_bytes(content, random)
    (length,) = struct.unpack("<I", content[12:16])
    header, payload = json.loads(zlib.decompress(content[16 : 16 + length])), content[16 + length :]
    if random.random() < 0.5:
        payload = of_bytes(payload, random)
    else:
        header = of_values(header, random)
    if isinstance(header, dict) and random.random() < 0.9:
        header["sha256"] = sha256(payload).hexdigest()
    packed = zlib.compress(as_json(header, random))
    return content[:12] + struct.pack("<I", len(packed)) + packed + payload


def _array_files() -> list[bytes]:
    found = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(
            file,
            x=np.zeros((12, 3, 2, 2), np.float32),
            y=np.arange(12) % 2,
            names=np.array(["a", "b"]),
        )
        found.append(file.getvalue())
    return found


def of_archive(content: bytes, random: Random) -> bytes:
    """A zip archive with one member changed, its checksum right."""
    if random.random() < 0.25:
        return of_bytes(content, random)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        held = {each.filename: archive.read(each) for each in archive.infolist()}
    name = random.choice(list(held))
    match random.randrange(5):
        case 0:
            held[name] = held[name].replace(b"(", b"(9999999999, ", 1)
        case 1:
            names = [each for each in VALUES if isinstance(each, str)]
            held[random.choice(names)[:30_000].replace("\0", "")] = held.pop(name)
        case 2:
            held[name] += b"\0" * random.choice(
                (1, 1000, 300_000_000 if random.random() < 0.01 else 9)
            )
        case _:
            held[name] = of_bytes(held[name][:200], random) + held[name][200:]
    result = io.BytesIO()
    with zipfile.ZipFile(
        result, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as archive:
        for key, each in held.items():
            archive.writestr(
                zipfile.ZipInfo(key.encode("utf-8", "replace").decode()), each, zipfile.ZIP_DEFLATED
            )
    return result.getvalue()


def _weight_files() -> list[bytes]:
    state = {key: value.clone() for key, value in _model().state_dict().items()}
    odd = {
        "1.weight": torch.eye(4).to_sparse(),
        "1.bias": torch.ones(4, dtype=torch.complex64),
        "epoch": 3,
    }
    found = []
    for held in (state, {"model": {"state_dict": state}, "epoch": 3}, odd):
        for new in (True, False):
            file = io.BytesIO()
            torch.save(held, file, _use_new_zipfile_serialization=new)
            found.append(file.getvalue())
    with suppress(ImportError):
        from safetensors.torch import save

        found.append(save(state))
    return found


def of_weights(content: bytes, random: Random) -> bytes:
    return of_archive(content, random) if content[:2] == b"PK" else of_bytes(content, random)


def _records() -> list[bytes]:
    row = {
        "case": "a",
        "model": "m",
        "data": "d",
        "target": "t",
        "budget": ["50%"],
        "agent": "random",
        "seed": 0,
        "state": "COMPLETE",
        "score": 0.5,
        "macs": 3.0,
        "trials": 4,
    }
    return [json.dumps(row).encode()]


OVERHEAD = FittedOverhead(
    scale=1.1, seconds_per_operator=0, seconds_per_call=1e-5, networks=5, error=0.02
)
HOLDER = {
    "pid": 7,
    "host": "here",
    "since": "2026-01-01 00:00:00+00:00",
    "command": "automl search",
}
LOG = b"""{"at_seconds": 0.1, "stage": "tracing", "peak_bytes": 9}
{"at_seconds": 0.2, "trial": 0, "state": "COMPLETE"}
"""
OPERATORS = [
    {
        **{"op": "conv2d", "in_channels": 3, "out_channels": 8, "kernel": [3, 3]},
        **{"in_size": [8, 8], "out_size": [6, 6]},
    },
    {"op": "linear", "in_channels": 3, "out_channels": 8},
]


def _bundles() -> list[bytes]:
    """A bundle with a policy, its card and a few weights."""
    policy = policy_file().model_dump_json()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.zip"
        files = {"policy.json": policy, CARD: "# Card\n", "model.onnx": "network"}
        write_bundle(path, files, "0.1.0")
        return [path.read_bytes()]


READERS: tuple[Reader, ...] = (
    Reader("policy", "policy.json", _policy, _policies, of_json),
    Reader("table", "table.jsonl", _table, _tables, of_lines),
    Reader("checked table", "checked.jsonl", _checked_table, _tables, of_lines),
    Reader("appended table", "appended.jsonl", _appended_table, _tables, of_lines),
    Reader("settings", "automl.toml", _settings, lambda: [SETTINGS], of_bytes),
    Reader("recipe", "recipe.toml", _recipe, lambda: [RECIPE], of_bytes),
    Reader("packed weights", "weights.bin", _packed, _packed_files, of_packed),
    Reader("profile", "profile.any", _profile, _profiles, of_profile),
    Reader(
        "layer information",
        "layers.json",
        _layer_info,
        lambda: [json.dumps(_LAYERS).encode()],
        of_json,
    ),
    Reader(
        "operators", "ops.json", read_operators, lambda: [json.dumps(OPERATORS).encode()], of_json
    ),
    Reader(
        "timings",
        "timings.csv",
        _timings,
        lambda: [b"model,latency_ms,precision\nops.json,3.5,fp32\n"],
        of_bytes,
    ),
    Reader("record of a search", "result.json", _record, _records, of_json),
    Reader(
        "overhead",
        "overhead.json",
        _read_overhead,
        lambda: [OVERHEAD.model_dump_json().encode()],
        of_json,
    ),
    Reader(
        "clock", "clock.txt", lambda path: _kept_factor(path.parent), lambda: [b"0.93\n"], of_bytes
    ),
    Reader("kept of a run", "run.json", _kept, lambda: [json.dumps(start()).encode()], of_json),
    Reader(
        "outcome of a run",
        "outcome.json",
        _kept,
        lambda: [json.dumps(outcome()).encode()],
        of_json,
    ),
    Reader("trials of a report", "report.jsonl", _trials, lambda: [LOG], of_lines),
    Reader("log", "log.jsonl", _log, lambda: [LOG], of_lines),
    Reader("holder", "x.holder", read_holder, lambda: [json.dumps(HOLDER).encode()], of_json),
    Reader("arrays", "arrays.npz", _arrays, _array_files, of_archive),
    Reader("weights", "weights.pt", _weights, _weight_files, of_weights),
    Reader("bundle", "model.zip", inspect, _bundles, of_archive),
)


def inputs(reader: Reader, seed: int) -> Iterator[bytes]:
    """Inputs of a reader without end, from number `seed` on: each depends on its number alone."""
    seeds = reader.seeds()
    number = seed
    while True:
        random = Random(f"{reader.name} {number}")
        yield reader.mutate(random.choice(seeds), random)
        number += 1


def verdict(reader: Reader, path: Path) -> str:
    """ "accepted", "refused", or what is wrong with how a reader takes a file."""
    try:
        reader.read(path)
    except AutomlError as error:
        text = str(error)
        if not text.isprintable():
            return f"a message that is not one line of plain text: {text!r}"
        if len(text) > 2000:
            return f"a message of {len(text)} characters: {text[:300]!r}"
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]!r}"
    return "accepted"
