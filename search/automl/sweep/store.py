"""Where a sweep keeps its results: a folder, or an address that pyarrow knows."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from automl.errors import Raised, StudyError, attempt
from automl.files import common_folder, scratch_folder, write_whole

#: File systems of which a file is seen when it is closed, and not before.
_WHOLE: Final = ("s3", "gcs", "abfs")
_PART: Final = ".automl"  # ends the name of what is being written elsewhere


class ResultStore:
    """Files by name below a folder or an address, written whole or not at all.

    Args:
        address: A folder, or such as s3://bucket/folder.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.folder = None if "://" in address else Path(address)

    @contextlib.contextmanager
    def open_shared(self) -> Iterator[Path]:
        """A folder for what searches share: the store's own, or one on this machine for a while.

        Raises:
            OSError: There is no room for one.
        """
        if self.folder is not None:
            yield self.folder / "shared"
            return
        with common_folder(hashlib.sha256(self.address.encode()).hexdigest()[:16]) as folder:
            yield folder

    def check_writable(self) -> None:
        """Write and remove a file.

        Raises:
            StudyError: It cannot be done, and why.
        """
        name = ".automl-writable"

        def probe() -> None:
            self._write(name, b"")
            self._delete(name)

        answer = attempt(probe)
        if isinstance(answer, Raised):
            error = answer.error
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason = getattr(error, "strerror", None) or lines[0]
            raise StudyError(
                f"the results {self.address} cannot be written: {reason}", options=("out",)
            ) from error

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is no such file.

        Raises:
            StudyError: It cannot be read.
        """

        def content() -> bytes | None:
            if self.folder is not None:
                path = self.folder / name
                return path.read_bytes() if path.is_file() else None
            system, root = self._system()
            from pyarrow import fs

            if system.get_file_info(f"{root}/{name}").type == fs.FileType.NotFound:
                return None
            with system.open_input_stream(f"{root}/{name}") as stream:
                return bytes(stream.read())

        found: bytes | None = self._answer(attempt(content), f"{name} cannot be read")
        return found

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole.

        Raises:
            StudyError: It cannot be written.
        """
        self._answer(attempt(lambda: self._write(name, content)), f"{name} cannot be written")

    @contextlib.contextmanager
    def open_folder(self, name: str) -> Iterator[Path]:
        """The local folder to work in: the store's own, or a copy that goes when the block ends.

        Raises:
            StudyError: It cannot be read.
        """
        if self.folder is not None:
            yield self.folder / name
            return
        with scratch_folder() as folder:

            def fetch() -> None:
                from pyarrow import fs

                system, root = self._system()
                if system.get_file_info(f"{root}/{name}").type == fs.FileType.Directory:
                    fs.copy_files(f"{root}/{name}", str(folder), source_filesystem=system)

            self._answer(attempt(fetch), f"{name} cannot be read")
            yield folder

    def keep_folder(self, name: str, folder: Path) -> None:
        """Copy what was worked on in `open_folder` to the store; a folder's own is there already.

        Raises:
            StudyError: It cannot be written.
        """
        if self.folder is not None:
            return

        self._answer(attempt(lambda: self._send(name, folder)), f"{name} cannot be written")

    def _send(self, name: str, folder: Path) -> None:
        from pyarrow import fs

        system, root = self._system()
        place = f"{root}/{name}"
        system.create_dir(place, recursive=True)
        if system.type_name in _WHOLE:
            fs.copy_files(str(folder), place, destination_filesystem=system)
            return
        beside = f"{root}/.{name}{_PART}"
        system.create_dir(beside)
        fs.copy_files(str(folder), beside, destination_filesystem=system)
        for each in sorted(folder.rglob("*")):
            path = each.relative_to(folder).as_posix()
            if each.is_dir():
                system.create_dir(f"{place}/{path}")
            else:
                system.move(f"{beside}/{path}", f"{place}/{path}")
        system.delete_dir(beside)

    def _write(self, name: str, content: bytes) -> None:
        if self.folder is not None:
            write_whole(self.folder / name, content)
            return
        system, root = self._system()
        path = f"{root}/{name}"
        folder, _, last = path.rpartition("/")
        system.create_dir(folder, recursive=True)
        written = path if system.type_name in _WHOLE else f"{folder}/.{last}{_PART}"
        with system.open_output_stream(written) as stream:
            stream.write(content)
        if written != path:
            system.move(written, path)

    def _delete(self, name: str) -> None:
        if self.folder is not None:
            (self.folder / name).unlink()
            return
        system, root = self._system()
        system.delete_file(f"{root}/{name}")

    def _system(self) -> tuple[Any, str]:
        from pyarrow import fs

        system, root = fs.FileSystem.from_uri(self.address)
        return system, root

    def _answer(self, answer: Any, failing: str) -> Any:
        if isinstance(answer, Raised):
            raise StudyError(f"results {self.address}: {failing}: {answer}") from answer.error
        return answer
