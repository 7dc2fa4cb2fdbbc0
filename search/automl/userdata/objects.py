"""Objects of the user's own that are named: found, executed and called."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

from automl.documents import files_beside
from automl.errors import AutomlError, ModelError, Raised, attempt, nearest

T = TypeVar("T")

#: PLACE:NAME(ARGUMENTS).
_CALLED: Final = re.compile(r"(.+?):([A-Za-z_]\w*)(\(.*\))\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Executed:
    """A user's file as it was executed."""

    content: bytes
    module: ModuleType


#: Files that were executed, by resolved path.
_EXECUTED: Final[dict[Path, _Executed]] = {}


def load_object(spec: str, error: type[AutomlError] = ModelError) -> Any:
    """What `path/to/file.py:name` or `package.module:name` names.

    Raises:
        AutomlError: Of the kind `error`; says which of file, module and name is missing, and what
            there is.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise error(f"{spec!r} names no object; write file.py:name or package.module:name")
    module = load_file(Path(place), error) if place.endswith(".py") else _load_module(place, error)
    if not hasattr(module, name):
        own = [key for key, value in vars(module).items() if _is_own(value, module)]
        raise error(f"{place} has no {name!r}{nearest(name, own)}")
    return getattr(module, name)


def load_factory(spec: str, error: type[AutomlError] = ModelError) -> Any:
    """As `load_object`; of "package.module:name(2, key='text')" that call, not made yet.

    The arguments are literals of Python (numbers, texts, None, True, tuples, lists, dicts, sets).
    They are read and never executed.

    Raises:
        AutomlError: Of the kind `error`; also where the arguments are something else, or the object
            cannot be called.
    """
    match = _CALLED.fullmatch(spec)
    if match is None:
        return load_object(spec, error)
    place, name, written = match.groups()
    args, kwargs = _literals(name, written, error)
    made = load_object(f"{place}:{name}", error)
    if not callable(made):
        raise error(f"{place}:{name} is a {type(made).__name__}, expected a function")
    return partial(made, *args, **kwargs)


def _literals(
    name: str, written: str, error: type[AutomlError]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call as it was written."""
    try:
        call = ast.parse(f"{name}{written}", mode="eval").body
    except (SyntaxError, ValueError) as problem:
        raise error(f"{name}{written} is not a call in Python: {problem}") from None
    assert isinstance(call, ast.Call)  # it is a name with brackets behind it

    def value_of(argument: ast.expr) -> Any:
        try:
            return ast.literal_eval(argument)
        except (ValueError, TypeError):
            raise error(
                f"{name}{written}: {ast.unparse(argument)} is no literal: arguments are numbers,"
                " texts, True, False, None, or tuples, lists and dicts of them"
            ) from None

    kwargs = {each.arg: value_of(each.value) for each in call.keywords if each.arg is not None}
    if len(kwargs) < len(call.keywords):
        raise error(f"{name}{written}: write each argument out, without **")
    return [value_of(each) for each in call.args], kwargs


def executed_files() -> dict[str, str]:
    """The files that were executed for what the user named, with the digest of each."""
    return {str(path): hashlib.sha256(each.content).hexdigest() for path, each in _EXECUTED.items()}


def _is_own(value: object, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", "") == module.__name__


def load_file(path: Path, error: type[AutomlError] = ModelError) -> ModuleType:
    """The module of a user's file, executed anew only where its content has changed.

    Raises:
        AutomlError: Of the kind `error`; the file is missing or cannot be imported.
    """
    if not os.path.isfile(path):
        raise error(f"there is no file {path}{nearest(path.name, files_beside(path))}")
    path = path.resolve()
    content = call_user(path.read_bytes, f"{path} cannot be read", error)
    known = _EXECUTED.get(path)
    if known is None or known.content != content:
        known = _Executed(content, _execute(path, content, error))
        _EXECUTED[path] = known
    return known.module


def _execute(path: Path, content: bytes, error: type[AutomlError]) -> ModuleType:
    """The module of a file. Its name is that file's own, whatever other files are called."""
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    loader = SourceFileLoader(f"_user_{path.stem}_{digest}", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None  # the loader is given
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(spec.name)
    # registered, or dataclasses and pickle would not find the module that they belong to
    sys.modules[spec.name] = module
    _on_path(path.parent)

    def execute() -> None:
        # from the content: cached bytecode is told apart by seconds and size alone
        exec(loader.source_to_code(content, str(path)), vars(module))

    try:
        call_user(execute, f"{path} cannot be imported", error)
    except AutomlError:
        if before is None:
            del sys.modules[spec.name]
        else:
            sys.modules[spec.name] = before
        raise
    return module


def _load_module(name: str, error: type[AutomlError]) -> ModuleType:
    _on_path(Path.cwd())  # the command starts without the working folder on the path
    return call_user(lambda: importlib.import_module(name), f"{name} cannot be imported", error)


def _on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def call_user(call: Callable[[], T], failing: str, error: type[AutomlError]) -> T:
    """The answer of the user's code; whatever it raises becomes one line of the kind `error`.

    So does leaving the program, which is not the user's code's to end.
    """
    answer = attempt(call)
    if not isinstance(answer, Raised):
        return answer
    if isinstance(answer.error, AutomlError):
        raise answer.error
    raise error(f"{failing}: {answer}") from answer.error
