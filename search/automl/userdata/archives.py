"""Zip archives of others: looked at before anything in them is unpacked."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from automl.documents import open_file, shown
from automl.errors import AutomlError

#: An archive may unpack to so many times its size, and so much besides.
_TIMES, _BESIDES = 9, 64_000_000
#: Its list of members may take so many bytes, and a share of its size: each member takes many more
#: when it is read.
_LIST_BYTES, _LIST_SHARE = 1 << 21, 32
#: Where the list of members is told of, at the end.
_END, _END_64, _TAIL_BYTES = b"PK\5\6", b"PK\6\6", 1 << 17
_OPEN_SIZE: Final = 0xFFFFFFFF  # in the end's place for a size that takes 64 bits


def members(path: Path, error: type[AutomlError]) -> tuple[ZipInfo, ...]:
    """The members of a zip archive, none of them read.

    Raises:
        AutomlError: Of the kind `error`: no such archive, or one that nobody writes: a name twice,
            encrypted or oddly compressed, or far larger when it is unpacked.
    """
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            _check_list(file, size)
            with ZipFile(file) as archive:
                found = tuple(archive.infolist())
    except (BadZipFile, OSError, ValueError, NotImplementedError) as problem:
        raise error(f"{path} cannot be read: {problem}") from None
    names = set[str]()
    for each in found:
        if each.filename in names:
            raise error(f"{path} has two members {shown(each.filename)}")
        if each.flag_bits & 1 or each.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise error(f"{path}: {shown(each.filename)} is encrypted or compressed in an odd way")
        names.add(each.filename)
    unpacked = sum(each.file_size for each in found)
    if unpacked > _TIMES * size + _BESIDES:
        raise error(
            f"{path} has {size:,} bytes and unpacks to {unpacked:,}, far more than data do: save"
            " it uncompressed if it is yours"
        )
    return found


def _check_list(file: BinaryIO, size: int) -> None:
    file.seek(max(size - _TAIL_BYTES, 0))
    tail = file.read(_TAIL_BYTES)
    file.seek(0)
    found, long = tail.rfind(_END), tail.rfind(_END_64)
    length = 0
    if found >= 0 and found + 16 <= len(tail):
        (length,) = struct.unpack("<I", tail[found + 12 : found + 16])
    if length == _OPEN_SIZE and long >= 0 and long + 48 <= len(tail):
        (length,) = struct.unpack("<Q", tail[long + 40 : long + 48])
    if length > _LIST_BYTES + size // _LIST_SHARE:
        raise BadZipFile(f"its list of members takes {length:,} bytes")
