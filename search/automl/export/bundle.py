"""Delivered bundles: a zip archive of a network's files, with a manifest of their SHA-256.

Members are stored as they are, in the order of their names, with one date and one mode: the same
files make the same bytes. A reader believes nothing: an archive is exactly what its manifest says,
to the byte, or it is refused. Reading runs no code and unpacks nothing to disk.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError

from automl.documents import decoded, fault_of, parse_json, shown
from automl.errors import BundleError
from automl.files import replacing
from automl.userdata import members

MANIFEST: Final = "manifest.json"
CARD: Final = "MODEL_CARD.md"
#: Bytes that a manifest, and a document among the files, may have.
_MANIFEST_BYTES, _TEXT_BYTES = 1 << 16, 1 << 20
_MOST_FILES: Final = 64
_CHUNK: Final = 1 << 20
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_DATE: Final = (1980, 1, 1, 0, 0, 0)
#: Bytes that zip adds: for a member before it and in the list, without its name, and at the end.
_HEADERS, _END = 30 + 46, 22


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: Annotated[StrictInt, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """What is in a bundle.

    Attributes:
        format: Names it.
        version: Of the format.
        automl: Version of the program that packed it.
        files: Size and SHA-256 by name; the manifest itself is not among them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["automl-bundle"] = "automl-bundle"
    version: Literal[1] = 1
    automl: str
    files: Annotated[dict[str, _Entry], Field(max_length=_MOST_FILES)]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was checked.

    Attributes:
        manifest: What is in it.
        texts: Contents of its documents, by name.
    """

    manifest: Manifest
    texts: Mapping[str, str]


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            found.update(part)
    return found.hexdigest()


def write_bundle(path: Path, files: Mapping[str, Path | str], version: str) -> Manifest:
    """Write a bundle, whole or not at all.

    Args:
        path: Where to.
        files: By the names that they get: where they are, or their text.
        version: Of the program.

    Raises:
        OSError: A file cannot be read or written.
    """
    entries = {}
    for name, each in sorted(files.items()):
        if isinstance(each, Path):
            entries[name] = _Entry(bytes=each.stat().st_size, sha256=digest_of_file(each))
        else:
            content = each.encode()
            digest = hashlib.sha256(content).hexdigest()
            entries[name] = _Entry(bytes=len(content), sha256=digest)
    manifest = Manifest(automl=version, files=entries)
    with replacing(path) as temporary, ZipFile(temporary, "w", ZIP_STORED) as archive:
        archive.writestr(_member(MANIFEST), manifest.model_dump_json(indent=2) + "\n")
        for name in entries:
            source = files[name]
            content = source.read_bytes() if isinstance(source, Path) else source.encode()
            archive.writestr(_member(name), content)
    return manifest


def _member(name: str) -> ZipInfo:
    found = ZipInfo(name, _DATE)
    found.create_system = 3  # Unix, wherever it is written
    found.external_attr = (stat.S_IFREG | 0o644) << 16
    return found


def read_bundle(path: Path) -> Bundle:
    """Check a bundle, every byte of it.

    Raises:
        BundleError: It is no bundle, or not what its manifest says; names the member.
    """
    found = members(path, BundleError)
    for each in found:
        _check_member(path, each)
    try:
        with ZipFile(path) as archive:
            manifest = _manifest(path, archive)
            _check_names(path, manifest, {each.filename for each in found})
            _check_size(path, found)
            texts = {name: _checked(path, archive, name, manifest) for name in manifest.files}
    except (BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as problem:
        if isinstance(problem, BundleError):
            raise
        raise BundleError(f"{path} cannot be read: {problem}") from None
    return Bundle(manifest, {name: text for name, text in texts.items() if text is not None})


def _check_member(path: Path, each: ZipInfo) -> None:
    name = shown(each.filename)
    if re.fullmatch(_NAME, each.filename) is None or each.filename != each.orig_filename:
        raise BundleError(f"{path}: {name} is no name of a bundle's file")
    if not stat.S_ISREG(each.external_attr >> 16):
        raise BundleError(f"{path}: {name} is no plain file")
    if each.compress_type != ZIP_STORED or each.compress_size != each.file_size:
        raise BundleError(f"{path}: {name} is compressed, which nothing in a bundle is")


def _manifest(path: Path, archive: ZipFile) -> Manifest:
    if MANIFEST not in archive.NameToInfo:
        raise BundleError(f"{path} is no bundle of automl: it has no {MANIFEST}")
    if archive.getinfo(MANIFEST).file_size > _MANIFEST_BYTES:
        raise BundleError(f"{path}: {MANIFEST} has more than {_MANIFEST_BYTES:,} bytes")
    where = f"{path}: {MANIFEST}"
    text = decoded(archive.read(MANIFEST), where, BundleError)
    try:
        return Manifest.model_validate(parse_json(text, where, BundleError))
    except ValidationError as problem:
        raise BundleError(f"{where}: {fault_of(problem, Manifest.model_fields)}") from None


def _check_names(path: Path, manifest: Manifest, there: set[str]) -> None:
    for name in sorted(manifest.files.keys() - there):
        raise BundleError(f"{path} lacks {shown(name)}, which its manifest names")
    for name in sorted(there - manifest.files.keys() - {MANIFEST}):
        raise BundleError(f"{path} holds {shown(name)}, which its manifest does not name")


def _check_size(path: Path, found: tuple[ZipInfo, ...]) -> None:
    """Refuse bytes between, before or behind the members, where anything could be."""
    expected = _END + sum(_HEADERS + 2 * len(each.filename) + each.file_size for each in found)
    size = path.stat().st_size
    if size != expected:
        raise BundleError(f"{path} has {size:,} bytes, and its members make {expected:,}")


def _checked(path: Path, archive: ZipFile, name: str, manifest: Manifest) -> str | None:
    """Hold a member against the manifest; gives its text where it is a document."""
    entry, digest, kept, count = manifest.files[name], hashlib.sha256(), bytearray(), 0
    is_text = name.endswith((".json", ".md", ".py"))
    with archive.open(name) as member:
        while part := member.read(_CHUNK):
            digest.update(part)
            count += len(part)
            if is_text and len(kept) <= _TEXT_BYTES:
                kept += part
    if count != entry.bytes:
        raise BundleError(
            f"{path}: {name} has {count:,} bytes, and the manifest says {entry.bytes:,}"
        )
    if digest.hexdigest() != entry.sha256:
        raise BundleError(f"{path}: {name} was changed: its SHA-256 is not that of the manifest")
    if not is_text:
        return None
    if count > _TEXT_BYTES:
        raise BundleError(f"{path}: {name} has more than {_TEXT_BYTES:,} bytes")
    return decoded(bytes(kept), f"{path}: {name}", BundleError)
