"""Models on disk until they are sent: several whole networks at once take much memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload


class StoredModels(Mapping[str, bytes]):
    """Serialised models by name, each read when it is asked for; a context manager.

    The files go with the context, or with the process.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._paths: dict[str, Path] = {}

    def __enter__(self) -> StoredModels:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def put(self, name: str, content: bytes) -> None:
        """Keep a model under a name.

        Raises:
            OSError: The disk for temporary files is full.
        """
        path = Path(self._folder.name) / str(len(self._paths))
        path.write_bytes(content)
        self._paths[name] = path

    def __getitem__(self, name: str) -> bytes:
        return self._paths[name].read_bytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


class OneModel(Sequence[bytes]):
    """A model of a mapping, asked for each time that it is read.

    Args:
        models: By name.
        name: Which one.
    """

    def __init__(self, models: Mapping[str, bytes], name: str) -> None:
        self._models, self._name = models, name

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        return (self._models[self._name],)[index]

    def __len__(self) -> int:
        return 1
