"""Bundles are the same bytes each time, and what is not exactly one is refused."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from random import Random
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pytest
from hostile import of_bytes

from automl.errors import BundleError, Raised, attempt
from automl.export.bundle import CARD, MANIFEST, digest_of_file, read_bundle, write_bundle


def packed(folder: Path, name: str = "model.zip") -> Path:
    (folder / "weights").write_bytes(bytes(range(256)) * 40)
    files = {"model.pt": folder / "weights", CARD: "# Card\n", "policy.json": "{}\n"}
    write_bundle(folder / name, files, "0.1.0")
    return folder / name


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    first, second = packed(tmp_path), packed(tmp_path, "other.zip")
    assert first.read_bytes() == second.read_bytes()
    found = read_bundle(first)
    assert found.texts == {CARD: "# Card\n", "policy.json": "{}\n"}
    assert found.manifest.files["model.pt"].sha256 == digest_of_file(tmp_path / "weights")


Change = Callable[[list[tuple[ZipInfo, bytes]]], None]


def rewritten(path: Path, change: Change) -> None:
    """The archive again, its members changed."""
    with ZipFile(path) as archive:
        members = [(each, archive.read(each)) for each in archive.infolist()]
    change(members)
    with ZipFile(path, "w") as archive:
        for info, content in members:
            archive.writestr(info, content, compress_type=info.compress_type)


def _member(name: str, mode: int = stat.S_IFREG | 0o644) -> ZipInfo:
    found = ZipInfo(name)
    found.external_attr = mode << 16
    return found


def _tampered(members: list[tuple[ZipInfo, bytes]]) -> None:
    at = next(n for n, (each, _) in enumerate(members) if each.filename == "model.pt")
    members[at] = (members[at][0], members[at][1][:-1] + b"!")


def _bomb(members: list[tuple[ZipInfo, bytes]]) -> None:
    info = _member("zeros")
    info.compress_type = ZIP_DEFLATED
    members.append((info, bytes(300_000_000 // 8)))


def _manifest(change: Callable[[dict], None]) -> Change:
    def apply(members: list[tuple[ZipInfo, bytes]]) -> None:
        at = next(n for n, (each, _) in enumerate(members) if each.filename == MANIFEST)
        document = json.loads(members[at][1])
        change(document)
        members[at] = (members[at][0], json.dumps(document).encode())

    return apply


HOSTILE: dict[str, tuple[Change, str]] = {
    "tampered": (_tampered, "model.pt was changed: its SHA-256"),
    "outside": (lambda each: each.append((_member("../x"), b"")), "is no name of a bundle's file"),
    "absolute": (lambda each: each.append((_member("/etc/x"), b"")), "is no name of"),
    "link": (lambda each: each.append((_member("x", stat.S_IFLNK), b"/etc")), "no plain file"),
    "bomb": (_bomb, "'zeros' is compressed, which nothing in a bundle is"),
    "more": (lambda each: each.append((_member("x"), b"")), "which its manifest does not name"),
    "fewer": (lambda each: each.pop(), "lacks 'policy.json', which its manifest names"),
    "no manifest": (lambda each: each.pop(0), "it has no manifest.json"),
    "no hash": (
        _manifest(lambda each: each["files"]["model.pt"].pop("sha256")),
        "sha256 is missing",
    ),
    "short hash": (_manifest(lambda each: each["files"]["model.pt"].update(sha256="0")), "sha256"),
    "size": (_manifest(lambda each: each["files"]["model.pt"].update(bytes=1)), "manifest says 1"),
    "version": (_manifest(lambda each: each.update(version=2)), "version"),
    "typo": (
        _manifest(lambda each: each.update(fils={})),
        "unknown key 'fils' (did you mean files?",
    ),
}


@pytest.mark.parametrize("kind", [*HOSTILE])
def test_hostile_bundles_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    change, said = HOSTILE[kind]
    path = packed(tmp_path)
    rewritten(path, change)
    with pytest.raises(BundleError) as told:
        read_bundle(path)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path)
    rewritten(path, lambda each: each.append((_member("policy.json"), b"{}")))
    with pytest.raises(BundleError, match=r"two members 'policy\.json'"):
        read_bundle(path)


def test_what_is_cut_off_put_before_or_behind_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path)
    whole = path.read_bytes()
    for content in (
        b"",
        b"no zip",
        whole[:-1],
        whole[: len(whole) // 2],
        b"#!" + whole,
        whole + b"x",
    ):
        path.write_bytes(content)
        with pytest.raises(BundleError):
            read_bundle(path)
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(tmp_path / "missing.zip")


def test_any_change_of_a_byte_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path, random = packed(tmp_path), Random(0)
    whole = path.read_bytes()
    before = read_bundle(path)
    for _ in range(300):
        path.write_bytes(of_bytes(whole, random))
        found = attempt(lambda: read_bundle(path))
        if isinstance(found, Raised):
            assert isinstance(found.error, BundleError)
            assert "\n" not in str(found.error)
        else:
            assert found.texts == before.texts
            assert found.manifest.files == before.manifest.files
