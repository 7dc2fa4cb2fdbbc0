"""Packed files: the size that was promised, the tensors bit for bit, and damage in one line."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from automl.compression.quantization.codebook import codebook
from automl.compression.quantization.qparams import round_to, values, weight_qparams
from automl.errors import QuantizationError
from automl.export.packed import (
    IntegerWeights,
    SharedWeights,
    SparseWeights,
    Stored,
    read_packed,
    state_dict,
    write_packed,
)
from automl.policy.policy import Bits
from automl.policy.sizes import packed_bytes

START = 16  # bytes before the header: magic, version, length


def integers(shape: tuple[int, ...], bits: int, seed: int = 0) -> IntegerWeights:
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    qparams = weight_qparams(weights.view(1, shape[0], -1), bits)
    found = round_to(weights.view(1, shape[0], -1), qparams)
    return IntegerWeights(found.view(shape), qparams.scale.flatten(), bits)


def shared(shape: tuple[int, ...], bits: int, seed: int = 0) -> SharedWeights:
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    found = codebook(weights.view(1, shape[0], -1), bits)
    return SharedWeights(found.entries, found.indices.view(shape), bits)


def sparse(shape: tuple[int, ...], bits: int, share: float, seed: int = 0) -> SparseWeights:
    draw = torch.Generator().manual_seed(seed)
    mask = torch.rand(shape, generator=draw) < share
    kept = int(mask.sum())
    if bits == 32:
        return SparseWeights(mask, torch.randn(kept, generator=draw), torch.empty(0).byte(), 32)
    entries = torch.randn(min(1 << bits, kept), generator=draw).sort().values
    indices = torch.randn(kept, generator=draw).mul(len(entries) / 8).add(len(entries) / 2)
    return SparseWeights(mask, entries, indices.clamp(0, len(entries) - 1).byte(), bits)


def same(first: Stored, second: Stored) -> bool:
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        assert isinstance(first, Tensor)
        assert isinstance(second, Tensor)
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, IntegerWeights):
        assert isinstance(second, IntegerWeights)
        pairs = [(first.integers, second.integers), (first.scale, second.scale)]
    elif isinstance(first, SparseWeights):
        assert isinstance(second, SparseWeights)
        pairs = [(first.mask, second.mask), (first.numbers, second.numbers)]
        pairs.append((first.indices, second.indices))
    else:
        assert isinstance(second, SharedWeights)
        pairs = [(first.indices, second.indices), (first.entries, second.entries)]
    assert first.bits == second.bits
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def header_of(data: bytes) -> tuple[dict[str, object], int]:
    (length,) = struct.unpack("<I", data[START - 4 : START])
    return json.loads(zlib.decompress(data[START : START + length])), START + length


@pytest.mark.parametrize("huffman", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_what_was_written_is_read(tmp_path: Path, bits: int, huffman: bool) -> None:
    tensors: dict[str, Stored] = {
        "conv.weight": integers((6, 3, 3, 3), bits),
        "conv.bias": torch.randn(6, generator=torch.Generator().manual_seed(1)),
        "wide.weight": integers((4, 700), bits, seed=2),
        "head.weight": shared((5, 300), bits, seed=3),
        "tiny.weight": shared((2, 3), bits, seed=4),
        "sparse.weight": sparse((9, 5, 3, 3), bits, 0.3, seed=6),
        "masked.weight": sparse((40, 30), 32, 0.02, seed=7),
        "gone.weight": sparse((3, 4), 32, 0.0),
        "norm.count": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "half": torch.randn(3, 2, generator=torch.Generator().manual_seed(5)).half(),
        "none": torch.empty(0, 4),
    }
    size = write_packed(tmp_path / "a" / "weights.bin", tensors, huffman=huffman)
    assert size == (tmp_path / "a" / "weights.bin").stat().st_size
    found = read_packed(tmp_path / "a" / "weights.bin")
    assert list(found) == list(tensors)
    assert all(same(tensors[name], found[name]) for name in tensors)


def test_the_extreme_integers_come_back(tmp_path: Path) -> None:
    for bits in range(2, 9):
        half = 1 << (bits - 1)
        stored = IntegerWeights(
            torch.arange(-half, half).to(torch.int8), torch.ones(2 * half), bits
        )
        write_packed(tmp_path / "w", {"w": stored})
        assert same(read_packed(tmp_path / "w")["w"], stored)


@pytest.mark.parametrize("bits", [1, 3, 4, 8])
def test_the_size_is_the_price_and_the_header(tmp_path: Path, bits: int) -> None:
    tensors: dict[str, Stored] = {
        "a.weight": integers((16, 8, 3, 3), bits),
        "a.bias": torch.zeros(16),
        "b.weight": shared((10, 16), bits),
        "b.bias": torch.zeros(10),
        "c.weight": torch.zeros(5, 10),
        "c.bias": torch.zeros(5),
    }
    size = write_packed(tmp_path / "w", tensors)
    _, start = header_of((tmp_path / "w").read_bytes())
    price = packed_bytes(1152, 16, 16, Bits(bits, 8)) + packed_bytes(160, 10, 10, Bits(bits, 32))
    assert size - start == price + packed_bytes(50, 5, 5, Bits())
    assert start < 400
    assert write_packed(tmp_path / "w", tensors, huffman=True) <= size + 60


def test_zeros_take_a_bit_each_and_less_with_their_gaps_coded(tmp_path: Path) -> None:
    stored = sparse((50, 400), 4, 0.1)
    kept = len(stored.indices)
    size = write_packed(tmp_path / "w", {"w": stored})
    data = (tmp_path / "w").read_bytes()
    assert size - header_of(data)[1] == 2500 + 64 + -(-kept // 2)
    assert struct.unpack("<I", data[8:12]) == (2,)
    coded = write_packed(tmp_path / "w", {"w": stored}, huffman=True)
    assert coded < 0.6 * size
    assert torch.equal(state_dict(read_packed(tmp_path / "w"))["w"], stored.values())


def test_files_without_zeros_left_out_are_of_the_version_that_earlier_programs_read(
    tmp_path: Path,
) -> None:
    write_packed(tmp_path / "w", {"w": integers((4, 30), 4), "b": torch.ones(4)})
    data = (tmp_path / "w").read_bytes()
    assert struct.unpack("<I", data[8:12]) == (1,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kept": 9999}, "9,999 of 1,200 places"),
        ({"kept": 1}, "gaps between 1 weights in 1,200 places"),
        ({"shape": [1 << 20, 1 << 20]}, "gaps between 120 weights"),
        ({"kind": "raw"}, "120 of 1,200 places"),
        ({"gaps": 3}, "cut off|the gaps do not end|has more"),
        ({"used": 0}, "codebook of 0 entries"),
        ({"kind": "masked", "dtype": "int8"}, "'int8' between zeros"),
    ],
)
def test_sparse_tensors_that_cannot_be_are_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    mask = torch.zeros(40, 30, dtype=torch.bool)
    mask[:, ::10] = True
    stored = SparseWeights(mask, torch.tensor([-1.0, 1.0]), torch.zeros(120).byte(), 1)
    write_packed(tmp_path / "w", {"w": stored}, huffman=True)
    data = rewritten((tmp_path / "w").read_bytes(), lambda header: first(header).update(change))
    (tmp_path / "w").write_bytes(data)
    with pytest.raises(QuantizationError, match=message):
        read_packed(tmp_path / "w")


def test_huffman_makes_bell_shaped_weights_smaller(tmp_path: Path) -> None:
    tensors: dict[str, Stored] = {"w": integers((64, 2000), 6)}
    plain = write_packed(tmp_path / "w", tensors)
    coded = write_packed(tmp_path / "w", tensors, huffman=True)
    assert coded < 0.95 * plain
    assert same(read_packed(tmp_path / "w")["w"], tensors["w"])


def test_a_module_loads_the_values(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4))
    tensors: dict[str, Stored] = dict(module.state_dict())
    tensors["0.weight"], tensors["2.weight"] = integers((8, 3, 3, 3), 4), shared((4, 8), 2)
    write_packed(tmp_path / "w", tensors)
    module.load_state_dict(state_dict(read_packed(tmp_path / "w")))
    stored = integers((8, 3, 3, 3), 4)
    qparams = weight_qparams(
        torch.randn((8, 3, 3, 3), generator=torch.Generator().manual_seed(0)).view(1, 8, 27), 4
    )
    expected = values(stored.integers.view(1, 8, 27), qparams).view(8, 3, 3, 3)
    assert torch.equal(module[0].weight.detach(), expected)
    assert len(module[2].weight.unique()) <= 4


def test_the_same_tensors_make_the_same_file(tmp_path: Path) -> None:
    for name in "ab":
        write_packed(tmp_path / name, {"w": integers((8, 90), 5)}, huffman=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (
            IntegerWeights(torch.full((2, 3), 4, dtype=torch.int8), torch.ones(2), 3),
            "beyond 3 bits",
        ),
        (IntegerWeights(torch.zeros(2, 3, dtype=torch.int8), torch.ones(2), 1), "beyond 1 bits"),
        (IntegerWeights(torch.zeros(2, 3, dtype=torch.int8), torch.ones(3), 4), "3 numbers"),
        (SharedWeights(torch.ones(2), torch.tensor([2], dtype=torch.uint8), 4), "codebook of 2"),
        (
            SparseWeights(torch.tensor([True]), torch.ones(2), torch.tensor([2]).byte(), 4),
            "codebook of 2",
        ),
        (
            SparseWeights(torch.tensor([True]), torch.ones(2), torch.tensor([]).byte(), 4),
            "not as many",
        ),
        (torch.zeros(2, dtype=torch.complex64), "complex64 cannot be stored"),
    ],
)
def test_what_cannot_be_stored_is_named(tmp_path: Path, stored: Stored, message: str) -> None:
    with pytest.raises(QuantizationError, match=f"^layer.weight: .*{message}"):
        write_packed(tmp_path / "w", {"layer.weight": stored})
    assert not (tmp_path / "w").exists()


def rewritten(data: bytes, change: Callable[[dict[str, object]], object]) -> bytes:
    """The file with another header."""
    header, start = header_of(data)
    change(header)
    packed = zlib.compress(json.dumps(header).encode())
    return data[: START - 4] + struct.pack("<I", len(packed)) + packed + data[start:]


def first(header: dict[str, object]) -> dict[str, object]:
    tensors = header["tensors"]
    assert isinstance(tensors, list)
    entry = tensors[0]
    assert isinstance(entry, dict)
    return entry


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "is no packed weight file"),
        (lambda data: b"PK\3\4" + data[4:], "is no packed weight file"),
        (
            lambda data: data[:8] + struct.pack("<I", 3) + data[12:],
            "schema_version 3; .* versions 1 and 2",
        ),
        (lambda data: data[:40], "cut off in its header"),
        (lambda data: data[:-1], r"is cut off: its tensors take \d+ bytes, \d+ are there"),
        (lambda data: data + b"x", "has more than that"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "sha256 does not match"),
        (lambda data: data[:30] + bytes([data[30] ^ 255]) + data[31:], "header is damaged"),
        (
            lambda data: rewritten(data, lambda header: first(header).update(bits=9)),
            r"tensors\.0\.bits: .* found 9",
        ),
        (
            lambda data: rewritten(data, lambda header: first(header).pop("shape")),
            r"tensors\.0\.shape is missing",
        ),
        (
            lambda data: rewritten(data, lambda header: first(header).update(peculiar=1)),
            r"unknown key 'tensors\.0\.peculiar'",
        ),
        (
            lambda data: rewritten(data, lambda header: first(header).update(dtype="float4")),
            "layer.weight: unknown dtype 'float4'",
        ),
        (
            lambda data: rewritten(data, lambda header: header.pop("sha256")),
            "sha256 is missing",
        ),
        (
            lambda data: rewritten(data, lambda header: first(header).update(shape=[4, 20])),
            "layer.weight: the Huffman codes do not end",
        ),
    ],
)
def test_damage_is_one_line_that_names_the_file(
    tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    path = tmp_path / "weights.bin"
    stored = IntegerWeights(torch.zeros(4, 200, dtype=torch.int8), torch.ones(4), 8)
    write_packed(path, {"layer.weight": stored}, huffman=True)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(QuantizationError, match=f"weights.bin.*{message}") as raised:
        read_packed(path)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").touch()
    with pytest.raises(QuantizationError, match=r"weigths\.bin: No such file.*weights\.bin"):
        read_packed(tmp_path / "weigths.bin")


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.bin"
    write_packed(path, {"w": torch.ones(3)})
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(QuantizationError, match="cannot be written: No space left"):
        write_packed(path, {"w": torch.zeros(3)})
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["weights.bin"]


HUFF = {"name": "a", "kind": "shared", "bits": 1, "used": 2, "huffman": 2}


@pytest.mark.parametrize(
    ("entries", "payload", "message"),
    [
        ([{**HUFF, "shape": [(1 << 40) - 1]}], b"\0\0", "2 bytes hold no 1,099,511,627,775"),
        ([{**HUFF, "shape": [9]}], b"\0\0", "1 bytes of 0 symbols hold no 9 of them"),
        ([{"name": "a", "kind": "raw", "shape": [0]}] * 2, b"", "the tensor 'a' is there twice"),
        ([{"name": "a", "kind": "raw", "shape": [0, (1 << 40) - 1, (1 << 40) - 1]}], b"",
         "of more numbers than there can be"),
        ([{"name": "a", "kind": "raw", "shape": [1] * 99}], b"\0" * 4, "at most 16 items"),
        ([{"name": "a", "kind": "raw", "shape": [2], "dtype": "bool"}], b"\0\7", "neither 0 nor 1"),
    ],
)  # fmt: skip
def test_tensors_that_cannot_be_are_refused_before_they_are_made(
    tmp_path: Path, entries: list[dict[str, object]], payload: bytes, message: str
) -> None:
    if "huffman" in entries[0]:
        payload = struct.pack("<2f", 1, 2) + payload
    header = {"sha256": hashlib.sha256(payload).hexdigest(), "tensors": entries}
    packed = zlib.compress(json.dumps(header).encode())
    path = tmp_path / "weights.bin"
    path.write_bytes(b"automlwt" + struct.pack("<II", 1, len(packed)) + packed + payload)
    with pytest.raises(QuantizationError, match=message):
        read_packed(path)


def test_a_header_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    packed = zlib.compress(b" " * 100_000_000)
    (tmp_path / "w").write_bytes(b"automlwt" + struct.pack("<II", 1, len(packed)) + packed)
    with pytest.raises(QuantizationError, match=r"its header is over [\d,]+ bytes"):
        read_packed(tmp_path / "w")
