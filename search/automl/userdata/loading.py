"""The user's own model, data and score: found, loaded, checked."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

import torch
from torch import nn

from automl.errors import (
    AutomlError,
    DataError,
    ModelError,
    OptionError,
    Raised,
    attempt,
    nearest,
)
from automl.userdata.data import Batches, Data, read_batches
from automl.userdata.scores import LOGITS, PSNR, Logits, Score, psnr, top1_accuracy
from automl.userdata.seeding import seeded

#: Most validation and test inputs that are kept in memory.
MAX_VALIDATION, MAX_TEST = 5_000, 50_000

T = TypeVar("T")


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
    if not path.is_file():
        there = [each.name for each in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise error(f"there is no file {path}{nearest(path.name, there)}")
    path = path.resolve()
    content = _call(path.read_bytes, f"{path} cannot be read", error)
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
        _call(execute, f"{path} cannot be imported", error)
    except AutomlError:
        if before is None:
            del sys.modules[spec.name]
        else:
            sys.modules[spec.name] = before
        raise
    return module


def _load_module(name: str, error: type[AutomlError]) -> ModuleType:
    _on_path(Path.cwd())  # the command starts without the working folder on the path
    return _call(lambda: importlib.import_module(name), f"{name} cannot be imported", error)


def _on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _call(call: Callable[[], T], failing: str, error: type[AutomlError]) -> T:
    """The answer of the user's code; whatever it raises becomes one line of the kind `error`.

    So does leaving the program, which is not the user's code's to end.
    """
    answer: T | Raised
    try:
        answer = attempt(call)
    except SystemExit as leaving:
        said = RuntimeError(f"it called sys.exit({leaving.code!r})")
        answer = Raised(said.with_traceback(leaving.__traceback__))
    if not isinstance(answer, Raised):
        return answer
    if isinstance(answer.error, AutomlError):
        raise answer.error
    raise error(f"{failing}: {answer}") from answer.error


def load_model(spec: str, weights: Path | None = None) -> nn.Module:
    """The model that a factory makes, its weights loaded, in evaluation mode.

    Args:
        spec: As for `load_object`: a callable without arguments that returns a module, or a module.
        weights: A file holding a state dict, read with `weights_only=True`.

    Raises:
        ModelError: The factory does not make a module, or the weights do not fit it.
    """
    made = load_object(spec)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise ModelError(f"{spec} is a {type(made).__name__}, expected a function or a module")
        made = _call(made, f"{spec} failed", ModelError)
    if not isinstance(made, nn.Module):
        raise ModelError(f"{spec} returned a {type(made).__name__}, expected a torch.nn.Module")
    if weights is not None:
        load_weights(made, weights)
    return made.to("cpu").eval()


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict into `model`, in place.

    A dict under "state_dict" or "model" is taken, and "module." prefixes are stripped.

    Raises:
        ModelError: No such file, not a state dict, or keys or shapes that differ.
    """
    if not path.is_file():
        there = [each.name for each in path.parent.glob("*.*")] if path.parent.is_dir() else []
        raise ModelError(f"there is no weights file {path}{nearest(path.name, there)}")
    stored = _call(
        lambda: torch.load(path, map_location="cpu", weights_only=True),
        f"{path} cannot be read as a state dict",
        ModelError,
    )
    state = _state_dict(stored, path)
    mismatch = _mismatch(model.state_dict(), state)
    if mismatch:
        raise ModelError(f"{path} does not fit the model: {mismatch}")
    model.load_state_dict(state, strict=False)


def _state_dict(stored: Any, path: Path) -> dict[str, torch.Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    if not isinstance(stored, Mapping) or not any(
        isinstance(value, torch.Tensor) for value in stored.values()
    ):
        raise ModelError(
            f"{path} holds a {type(stored).__name__}, expected a state dict of tensors"
        )
    tensors = {str(k): v for k, v in stored.items() if isinstance(v, torch.Tensor)}
    return {key.removeprefix("module."): value for key, value in tensors.items()}


def _mismatch(
    expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], shown: int = 3
) -> str:
    """The first keys that are missing, unexpected or of another shape; "" when all fit."""
    # batch norms count their batches only for a momentum of None; old files lack the count
    missing = [k for k in expected if k not in found and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in found if k not in expected]
    reshaped = [
        f"{k} is {tuple(found[k].shape)}, the model has {tuple(value.shape)}"
        for k, value in expected.items()
        if k in found and found[k].shape != value.shape
    ]
    parts = []
    for title, keys in (
        ("missing ", missing),
        ("unexpected ", unexpected),
        ("wrong shape: ", reshaped),
    ):
        if keys:
            more = f" and {len(keys) - shown} more" if len(keys) > shown else ""
            parts.append(title + ", ".join(keys[:shown]) + more)
    return "; ".join(parts)


def load_data(spec: str, calibration: int, seed: int = 0) -> Data:
    """Read the user's data into memory.

    Args:
        spec: As for `load_object`: a callable without arguments that returns (training, validation)
            or (training, validation, test), each an iterable of (input, target) batches.
        calibration: Most training inputs to keep for calibration.
        seed: Of the generators while the data is read, so that loaders which shuffle yield the
            same calibration images each time.

    Raises:
        DataError: The callable is missing or fails, or its batches are not as described.
    """
    made = load_object(spec, DataError)
    if not callable(made):
        raise DataError(f"{spec} is a {type(made).__name__}, expected a function")
    with seeded(seed):
        parts = _call(made, f"{spec} failed", DataError)
    return _call(lambda: make_data(parts, calibration, spec, seed), f"{spec} failed", DataError)


def make_data(parts: Any, calibration: int, name: str = "data", seed: int = 0) -> Data:
    """`Data` of (training, validation) or (training, validation, test) iterables of batches.

    Args:
        parts: The iterables, or `Data`, which is kept but for the limit on calibration.
        calibration: Most training inputs to keep for calibration.
        name: What the user calls the data, for errors.
        seed: Of the generators while each part is read.

    Raises:
        DataError: Another number of parts, or batches that are not as described.
    """
    if isinstance(parts, Data):
        head = parts.calibration.head(calibration)
        return Data(head, parts.validation, parts.test, parts.training)
    if not isinstance(parts, tuple | list) or len(parts) not in (2, 3):
        size = f" of {len(parts)}" if isinstance(parts, tuple | list) else ""
        raise DataError(
            f"{name} gave a {type(parts).__name__}{size}, "
            "expected (training, validation) or (training, validation, test)"
        )
    for part, source in zip(("training", "validation", "test"), parts, strict=False):
        if not isinstance(source, Iterable):
            raise DataError(f"the {part} data of {name} is a {type(source).__name__}, not iterable")

    def read(part: int, title: str, images: int) -> Batches:
        with seeded(seed, parts[part]):  # each anew: what one draws changes nothing for the others
            return read_batches(parts[part], title, images)

    with seeded(seed, parts[0]):
        again = iter(parts[0]) is not parts[0]
    data = Data(
        read(0, "training", calibration),
        read(1, "validation", MAX_VALIDATION),
        read(2, "test", MAX_TEST) if len(parts) == 3 else None,
        parts[0] if again else None,
    )
    for part, batches in (("training", data.calibration), ("test", data.test)):
        if batches is not None and batches.input_shape != data.input_shape:
            raise DataError(
                f"the {part} inputs of {name} are {batches.input_shape[1:]}, "
                f"its validation inputs {data.input_shape[1:]}"
            )
    return data


def check_forward(model: nn.Module, data: Data) -> None:
    """Run the model on two validation inputs.

    Raises:
        DataError: The model does not take them, or its output is not finite or has lost the batch.
    """
    inputs = data.validation.head(2).inputs
    with torch.no_grad():
        failing = f"the model does not take inputs of shape {data.input_shape}"
        outputs = _call(lambda: model(inputs), failing, DataError)
    if not isinstance(outputs, torch.Tensor):
        raise ModelError(f"the model returns a {type(outputs).__name__}, expected one tensor")
    if outputs.shape[:1] != inputs.shape[:1]:
        raise ModelError(f"{len(inputs)} inputs give outputs of shape {tuple(outputs.shape)}")
    if not torch.isfinite(outputs).all():
        raise ModelError("the model's outputs on the validation data are NaN or infinite")


def check_input_shape(wanted: Sequence[int] | None, data: Data) -> tuple[int, ...]:
    """Shape of one input that a network is priced at: the data's where none is asked for.

    Args:
        wanted: Batch 1 first. Its height and width may differ from the data's.
        data: What the network is scored on.

    Raises:
        OptionError: Another number of dimensions or of channels than the data's.
    """
    found = data.input_shape
    if wanted is None:
        return found
    if len(wanted) != len(found) or (len(found) == 4 and wanted[1] != found[1]):
        words = "x".join(map(str, found[1:]))
        raise OptionError(
            "input_shape", f"differs in more than its size from the data's, which is {words}"
        )
    return tuple(wanted)


def load_score(spec: str | None, dense: nn.Module) -> Score:
    """The user's score, checked at each call; top-1 accuracy where there is none.

    Args:
        spec: "logits", "psnr", or as for `load_object`: a function (model, batches) -> float,
            larger is better.
        dense: The network as it came, which "logits" compares with.

    Raises:
        DataError: No such function; when called, that it failed or gave no finite number.
    """
    if spec is None:
        return top1_accuracy
    if spec == LOGITS:
        return Logits(dense)
    if spec == PSNR:
        return psnr
    if ":" not in spec:
        raise DataError(
            f"score {spec!r} is not understood: write {LOGITS}, {PSNR}, file.py:name or"
            " package.module:name"
        )
    function = load_object(spec, DataError)
    if not callable(function):
        raise DataError(f"{spec} is a {type(function).__name__}, expected a function")
    return checked_score(function, spec)


def checked_score(function: Callable[..., Any], name: str) -> Score:
    """`function` with its answer checked: one finite number, or a DataError that names it."""

    def score(model: nn.Module, batches: Iterable[tuple[torch.Tensor, Any]]) -> float:
        with torch.no_grad():
            answer = _call(lambda: function(model, batches), f"score {name} failed", DataError)
        if isinstance(answer, torch.Tensor) and answer.numel() == 1:
            answer = answer.item()
        number = attempt(lambda: float(answer))
        if isinstance(number, Raised):
            raise DataError(f"score {name} returned a {type(answer).__name__}, expected a number")
        if not isfinite(number):
            raise DataError(f"score {name} returned {number}, expected a finite number")
        return number

    return score
