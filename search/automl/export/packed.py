"""Packed weight files: each tensor in the bits that the policy gave it. See docs/weights.md.

Sizes are those of `packed_bytes`, and the header on top. Reading runs no code.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from automl.documents import decoded, fault_of, parse_json, read_bytes, shown
from automl.errors import QuantizationError, nearest
from automl.export.bitstream import pack_bits, unpack_bits
from automl.export.formed import FormedWeights, Stretch, pack_parts, unpack_parts
from automl.export.gaps import SPARSEST, decode_gaps, encode_gaps
from automl.export.huffman import code_lengths, decode, encode
from automl.export.stored import IntegerWeights as IntegerWeights
from automl.export.stored import SharedWeights as SharedWeights
from automl.export.stored import SparseWeights as SparseWeights
from automl.export.stored import Stored as Stored
from automl.files import write_whole

Tensor = torch.Tensor
Bytes = NDArray[np.uint8]
Size = Annotated[int, Field(ge=0, lt=1 << 40)]
#: Versions that are read; a file of the older kinds of tensors alone is of the first.
SCHEMAS: Final = (1, 2)
_MAGIC: Final = b"automlwt"
#: Bytes that an unpacked header may have: so many, and a share of the file's. That is 20,000
#: tensors, and more where they are not of a few numbers each.
_LONGEST_HEADER, _HEADER_SHARE = 1 << 21, 4
#: Bytes of a file: what it unpacks to is held in memory.
_MOST_BYTES: Final = 1 << 33
_MOST_DIMENSIONS, _MOST_NUMBERS = 16, 1 << 48
_DTYPES: Final = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}


class _Entry(BaseModel):
    """What the header says of a tensor; what follows it in the payload follows from this."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["raw", "integers", "shared", "masked", "sparse", "formed"]
    shape: Annotated[tuple[Size, ...], Field(max_length=_MOST_DIMENSIONS)]
    dtype: str = "float32"
    bits: Annotated[int, Field(ge=1, le=8)] = 8
    used: Annotated[int, Field(ge=0, le=256)] = 0
    huffman: Annotated[int, Field(ge=1)] | None = None
    kept: Size = 0
    gaps: Annotated[int, Field(ge=1)] | None = None
    form: str = ""
    parameter: str = ""
    kernel: Annotated[tuple[Size, ...], Field(max_length=5)] = ()
    parts: Annotated[tuple[Stretch, ...], Field(max_length=16)] = ()
    odd: bool = False

    @property
    def places(self) -> int:
        return math.prod(self.shape)

    @property
    def count(self) -> int:
        """Numbers or codes that are stored."""
        return self.kept if self.is_sparse else self.places

    @property
    def is_sparse(self) -> bool:
        return self.kind in ("masked", "sparse")

    @property
    def is_later(self) -> bool:
        return self.is_sparse or self.kind == "formed" or self.odd

    @property
    def mask(self) -> int:
        """Bytes of where the weights are."""
        return (self.gaps or -(-self.places // 8)) if self.is_sparse else 0

    @property
    def table(self) -> int:
        """Numbers of 4 bytes before the codes: scales, or entries of the codebook."""
        if self.kind in ("raw", "masked", "formed"):
            return 0
        outputs = self.shape[0] if self.shape else 1
        return outputs if self.kind == "integers" else min(1 << self.bits, self.count)

    @property
    def codes(self) -> int:
        """Bytes of the codes, or of a raw tensor's numbers."""
        if self.kind in ("raw", "masked"):
            return self.count * _DTYPES[self.dtype].itemsize
        if self.kind == "formed":
            return sum(each.size for each in self.parts)
        return self.huffman or -(-self.count * self.bits // 8)


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    tensors: Annotated[tuple[_Entry, ...], FailFast()]


def write_packed(path: Path, tensors: Mapping[str, Stored], *, huffman: bool = False) -> int:
    """Write a file of tensors whole or not at all.

    Args:
        path: Of the file.
        tensors: By the names that a module's `state_dict` has: weights as they were rounded,
            biases and all else as they are.
        huffman: Whether codes are entropy-coded, where that makes a tensor smaller.

    Returns:
        Bytes of the file.

    Raises:
        QuantizationError: A tensor that cannot be stored, or a file that cannot be written.
    """
    entries, payload = [], bytearray()
    for name, stored in tensors.items():
        entry, content = _stored(name, stored, huffman)
        entries.append(entry)
        payload += content
    header = _Header(sha256=hashlib.sha256(payload).hexdigest(), tensors=tuple(entries))
    packed = zlib.compress(header.model_dump_json(exclude_defaults=True).encode(), 9)
    data = (
        _MAGIC
        + struct.pack("<II", SCHEMAS[any(each.is_later for each in entries)], len(packed))
        + packed
        + bytes(payload)
    )
    try:
        write_whole(path, data)
    except OSError as problem:
        raise QuantizationError(f"{path} cannot be written: {problem.strerror}") from problem
    return len(data)


def read_packed(path: Path) -> dict[str, Stored]:
    """Read a packed file: bit for bit what was written.

    Raises:
        QuantizationError: No such file, another kind of file, an unknown version, or one that was
            cut off or changed; the message names the file and where it went wrong.
    """
    data = read_bytes(path, QuantizationError, most=_MOST_BYTES)
    header, payload = _split(path, data)
    sizes = [entry.mask + 4 * entry.table + entry.codes for entry in header.tensors]
    if sum(sizes) != len(payload):
        what = "is cut off" if sum(sizes) > len(payload) else "has more than that"
        raise QuantizationError(
            f"{path} {what}: its tensors take {sum(sizes)} bytes, {len(payload)} are there"
        )
    if hashlib.sha256(payload).hexdigest() != header.sha256:
        raise QuantizationError(f"{path}: sha256 does not match: the file was changed or damaged")
    result, start = {}, 0
    for entry, size in zip(header.tensors, sizes, strict=True):
        try:
            result[entry.name] = _restored(entry, payload[start : start + size])
        except QuantizationError as problem:
            raise QuantizationError(f"{path}: {entry.name}: {problem}") from problem
        start += size
    return result


def state_dict(tensors: Mapping[str, Stored]) -> dict[str, Tensor]:
    """Tensors as a module loads them, weights as the float32 numbers that they stand for."""
    return {
        name: stored if isinstance(stored, Tensor) else stored.values()
        for name, stored in tensors.items()
    }


def _stored(name: str, stored: Stored, huffman: bool) -> tuple[_Entry, bytes]:
    if isinstance(stored, Tensor):
        dtype = str(stored.dtype).removeprefix("torch.")
        if dtype not in _DTYPES:
            raise QuantizationError(f"{name}: tensors of {dtype} cannot be stored")
        flat = stored.detach().contiguous().view(-1).view(torch.uint8)
        return _Entry(name=name, kind="raw", shape=stored.shape, dtype=dtype), _bytes(flat)
    if isinstance(stored, FormedWeights):
        return _formed(name, stored), pack_parts(stored.parts)
    bits = stored.bits
    if isinstance(stored, SparseWeights):
        return _sparse(name, stored, huffman)
    if isinstance(stored, IntegerWeights):
        table, symbols = stored.scale, _symbols(name, stored)
        shape, odd = stored.integers.shape, stored.odd
        entry = _Entry(name=name, kind="integers", shape=shape, bits=bits, odd=odd)
    else:
        used, symbols = len(stored.entries), stored.indices.flatten().numpy()
        if (len(symbols) and symbols.max() >= used) or used > 1 << bits:
            raise QuantizationError(f"{name}: indices beyond a codebook of {used} entries")
        unused = max(min(1 << bits, len(symbols)) - used, 0)
        table = torch.cat([stored.entries, stored.entries[-1:].expand(unused)])
        entry = _Entry(name=name, kind="shared", shape=stored.indices.shape, bits=bits, used=used)
    content, coded = _coded(symbols, bits, huffman)
    entry = entry.model_copy(update={"huffman": coded})
    numbers = table.detach().float().flatten()
    if len(numbers) != entry.table:
        raise QuantizationError(f"{name}: {len(numbers)} numbers beside {entry.table} expected")
    return entry, _bytes(numbers.view(torch.uint8)) + content


def _coded(symbols: Bytes, bits: int, huffman: bool) -> tuple[bytes, int | None]:
    """Codes in the shorter form, and the bytes of the Huffman-coded one where that is it."""
    content = pack_bits(symbols, bits)
    if huffman and len(symbols):
        lengths = code_lengths(symbols, 1 << bits)
        coded = pack_bits(lengths, 4) + encode(symbols, lengths)
        if len(coded) < len(content):
            return coded, len(coded)
    return content, None


def _sparse(name: str, stored: SparseWeights, huffman: bool) -> tuple[_Entry, bytes]:
    mask, used = stored.mask.flatten().numpy(), len(stored.numbers)
    kept, plain = int(mask.sum()), stored.bits > 8
    if (used if plain else len(stored.indices)) != kept:
        raise QuantizationError(f"{name}: its numbers are not as many as places have one")
    where, gaps = pack_bits(mask.astype(np.uint8), 1), None
    if huffman and kept and len(mask) <= SPARSEST * kept:
        coded = encode_gaps(mask)
        where, gaps = (coded, len(coded)) if len(coded) < len(where) else (where, None)
    entry = _Entry(name=name, kind="masked", shape=stored.mask.shape, kept=kept, gaps=gaps)
    if plain:
        return entry, where + _bytes(stored.numbers.float().view(torch.uint8))
    symbols = stored.indices.numpy()
    if (len(symbols) and symbols.max() >= used) or used > 1 << stored.bits:
        raise QuantizationError(f"{name}: indices beyond a codebook of {used} entries")
    content, length = _coded(symbols, stored.bits, huffman)
    also = {"kind": "sparse", "bits": stored.bits, "used": used, "huffman": length}
    entry = entry.model_copy(update=also)
    table = torch.cat([stored.numbers, stored.numbers[-1:].expand(entry.table - used)])
    return entry, where + _bytes(table.float().view(torch.uint8)) + content


def _symbols(name: str, stored: IntegerWeights) -> Bytes:
    integers, half = stored.integers.flatten().to(torch.int16), 1 << (stored.bits - 1)
    odd = stored.odd or stored.bits == 1
    symbols = (integers + 2 * half - 1) // 2 if odd else integers + half
    back = 2 * symbols - (2 * half - 1) if odd else symbols - half
    fits = not symbols.numel() or (int(symbols.min()) >= 0 and int(symbols.max()) < 2 * half)
    if not fits or not torch.equal(back, integers):
        raise QuantizationError(f"{name}: integers beyond {stored.bits} bits")
    return symbols.to(torch.uint8).numpy()


def _formed(name: str, stored: FormedWeights) -> _Entry:
    return _Entry(
        name=name,
        kind="formed",
        shape=stored.shape,
        form=stored.form,
        parameter=stored.parameter,
        kernel=stored.kernel,
        parts=tuple(Stretch(count=each.values.numel(), bits=each.bits) for each in stored.parts),
    )


def _restored(entry: _Entry, content: memoryview) -> Stored:
    if entry.kind == "formed":
        parts = tuple(unpack_parts(entry.parts, content))
        return FormedWeights(entry.form, entry.parameter, entry.kernel, entry.shape, parts)
    if entry.is_sparse:
        return _restored_sparse(entry, content[: entry.mask], content[entry.mask :])
    numbers, codes = content[: 4 * entry.table], content[4 * entry.table :]
    if entry.kind == "raw":
        if entry.dtype == "bool" and np.frombuffer(codes, dtype=np.uint8).max(initial=0) > 1:
            raise QuantizationError("a truth value that is neither 0 nor 1")
        return _tensor(codes, _DTYPES[entry.dtype]).view(entry.shape)
    symbols = _decoded(entry, codes)
    table = _tensor(numbers, torch.float32)
    if entry.kind == "shared":
        if len(symbols) and symbols.max() >= min(entry.used, entry.table):
            raise QuantizationError(f"indices beyond a codebook of {entry.used} entries")
        found = torch.from_numpy(symbols).view(entry.shape)
        return SharedWeights(table[: entry.used], found, entry.bits)
    odd = entry.odd or entry.bits == 1
    if entry.odd and entry.bits > 7:
        raise QuantizationError("odd integers of more than 7 bits")
    if odd:  # in place: of one bit each, integers take eight times the file
        symbols *= 2
    symbols -= (1 << entry.bits) - 1 if odd else 1 << (entry.bits - 1)  # below 0 as int8 has it
    integers = torch.from_numpy(symbols.view(np.int8)).view(entry.shape)
    return IntegerWeights(integers, table, entry.bits, entry.odd)


def _restored_sparse(entry: _Entry, where: memoryview, content: memoryview) -> SparseWeights:
    if entry.gaps:
        mask = decode_gaps(bytes(where), entry.places, entry.kept)
    else:
        mask = unpack_bits(where, 1, entry.places).view(np.bool_)
        if int(mask.sum()) != entry.kept:
            raise QuantizationError(f"{int(mask.sum()):,} places have weights, not {entry.kept:,}")
    numbers, codes = content[: 4 * entry.table], content[4 * entry.table :]
    places = torch.from_numpy(mask).view(entry.shape)
    if entry.kind == "masked":
        return SparseWeights(places, _tensor(codes, torch.float32), torch.empty(0).byte(), 32)
    symbols = _decoded(entry, codes)
    if len(symbols) and symbols.max() >= min(entry.used, entry.table):
        raise QuantizationError(f"indices beyond a codebook of {entry.used} entries")
    table = _tensor(numbers, torch.float32)[: entry.used]
    return SparseWeights(places, table, torch.from_numpy(symbols), entry.bits)


def _decoded(entry: _Entry, codes: memoryview) -> Bytes:
    if not entry.huffman:
        return unpack_bits(codes, entry.bits, entry.count)
    head = -(-(1 << entry.bits) // 2)
    lengths = unpack_bits(codes[:head], 4, 1 << entry.bits)
    return decode(bytes(codes[head:]), lengths, entry.count)


def _split(path: Path, data: bytes) -> tuple[_Header, memoryview]:
    start = len(_MAGIC) + 8
    if not data.startswith(_MAGIC) or len(data) < start:
        raise QuantizationError(f"{path} is no packed weight file")
    version, length = struct.unpack("<II", data[len(_MAGIC) : start])
    if version not in SCHEMAS:
        raise QuantizationError(
            f"{path} has schema_version {version}; this automl reads versions 1 and {SCHEMAS[-1]}"
        )
    try:
        unpacker = zlib.decompressobj()
        most = _LONGEST_HEADER + len(data) // _HEADER_SHARE
        text = unpacker.decompress(data[start : start + length], most)
    except zlib.error as problem:
        raise QuantizationError(f"{path}: its header is damaged ({problem})") from problem
    if len(text) == most:
        raise QuantizationError(f"{path}: its header is over {most:,} bytes when it is unpacked")
    if not unpacker.eof:
        raise QuantizationError(f"{path} is cut off in its header")
    where = f"{path}: its header"
    found = parse_json(decoded(text, where, QuantizationError), where, QuantizationError)
    try:
        header = _Header.model_validate(found)
    except ValidationError as problem:
        raise QuantizationError(f"{path}: {fault_of(problem, _Entry.model_fields)}") from problem
    _check(header, path)
    return header, memoryview(data)[start + length :]


def _check(header: _Header, path: Path) -> None:
    """Refuse tensors that cannot be, before anything is made of what they say."""
    twice = [
        name for name, count in Counter(one.name for one in header.tensors).items() if count > 1
    ]
    if twice:
        raise QuantizationError(f"{path}: the tensor {shown(twice[0])} is there twice")
    for entry in header.tensors:
        reason = ""
        if entry.dtype not in _DTYPES:
            reason = f"unknown dtype {shown(entry.dtype)}{nearest(entry.dtype, _DTYPES)}"
        elif math.prod(max(size, 1) for size in entry.shape) > _MOST_NUMBERS:
            reason = f"the shape {list(entry.shape)} is of more numbers than there can be"
        elif entry.kept > (entry.places if entry.is_sparse else 0):
            reason = f"{entry.kept:,} of {entry.places:,} places have weights"
        elif entry.gaps and not (entry.places <= SPARSEST * entry.kept and entry.is_sparse):
            reason = f"gaps between {entry.kept:,} weights in {entry.places:,} places"
        elif entry.kind == "masked" and entry.dtype != "float32":
            reason = f"weights of {shown(entry.dtype)} between zeros; they are float32"
        elif entry.gaps and entry.kept > 8 * entry.gaps:
            reason = f"the gaps do not end where the weights do: {entry.gaps} bytes"
            reason += f" hold no {entry.kept:,} of them"
        elif entry.huffman and entry.count > 8 * entry.huffman:
            reason = f"the Huffman codes do not end where the weights do: {entry.huffman} bytes"
            reason += f" hold no {entry.count:,} of them"
        if reason:
            raise QuantizationError(f"{path}: {shown(entry.name)[1:-1]}: {reason}")


def _bytes(flat: Tensor) -> bytes:
    return flat.numpy().tobytes()


def _tensor(content: memoryview, dtype: torch.dtype) -> Tensor:
    if not content:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype)
