"""A run's folder, and its study in a shared database, belong to one process at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from automl.errors import LockedError, StudyError
from automl.files import LOCK_FILES, locked
from automl.pipeline.log import Log
from automl.pipeline.requests import OnEvent, SearchRequest
from automl.pipeline.scalars import FOLDER, with_scalars
from automl.study import leased

#: In the run folder: its log.
LOG: Final = "log.jsonl"


@contextlib.contextmanager
def open_run(request: SearchRequest, on_event: OnEvent) -> Iterator[Log]:
    """Own the run's folder and its study until the block ends; gives the run's log.

    Raises:
        LockedError: Another process works in the folder, or searches the study of its name.
        StudyError: The folder holds a study, and it is not to be resumed; or it cannot be written.
        UsageError: TensorBoard's scalars are asked for, and it is not installed.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_folder(request.out))
        study = request.out / "study.db"
        if study.exists() and not request.resume:
            raise StudyError(
                f"{study} holds a study already: resuming goes on with it, another folder starts "
                "anew",
                options=("resume", "out"),
            )
        if request.storage is not None:
            stack.enter_context(leased(*stored_study(request)))
        if request.tensorboard:
            on_event = stack.enter_context(with_scalars(request.out / FOLDER, on_event))
        yield Log(request.out / LOG, on_event, resume=request.resume)


@contextlib.contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Make a folder where it is missing, and own it until the block ends.

    A folder that was made here is removed again where an error ends the block before anything but
    the log was written into it.

    Raises:
        LockedError: Another process works in it.
        StudyError: It cannot be made or written.
    """
    with contextlib.ExitStack() as stack:
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder))
            stack.push(partial(_remove_empty, made))
        except LockedError as error:
            raise LockedError(error.message, holder=error.holder, options=("out",)) from None
        except OSError as error:
            message = f"the run folder {folder} cannot be written: {error.strerror}"
            raise StudyError(message, options=("out",)) from error
        yield


def _remove_empty(folders: Sequence[Path], kind: type[BaseException] | None, *_: object) -> None:
    """After an error, remove folders, innermost first, until one holds more than lock and log."""
    for folder in folders if kind is not None else ():
        if any(each.name not in (*LOCK_FILES, LOG) for each in folder.iterdir()):
            return
        for name in (*LOCK_FILES, LOG):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def refuse_running(folder: Path) -> None:
    """Refuse a folder in which a search is running, whose files would be mixed with others.

    Raises:
        LockedError: A search is running.
    """
    if (folder / ".lock").exists():
        with own_folder(folder):
            pass


def stored_study(request: SearchRequest) -> tuple[str, str]:
    """Address and name of the study: the run folder's own, or named after it in the user's."""
    if request.storage is None:
        return f"sqlite:///{request.out / 'study.db'}", "search"
    return request.storage, request.out.as_posix()
