"""Models on disk until they are sent: several whole networks at once take much memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import overload

from automl.files import naming, scratch_folder


class StoredModels(Mapping[str, bytes]):
    """Serialised models by name, each read when it is asked for; a context manager.

    The files go with the context; those of a process that was killed go with the next.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(scratch_folder())
        self._paths: dict[str, Path] = {}

    def __enter__(self) -> StoredModels:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def put(self, name: str, content: bytes) -> None:
        """Keep a model under a name.

        Raises:
            OSError: The disk for temporary files is full.
        """
        path = self._folder / str(len(self._paths))
        with naming(path):
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
