"""Files of weights as people keep them, read without running anything that they say."""

from __future__ import annotations

import pickletools
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Final
from zipfile import ZipFile

import torch

from automl.documents import open_file, shown
from automl.errors import ModelError, Raised, attempt, install_command
from automl.userdata.archives import members

#: What files begin with that hold no state dict, and what to do with each.
_OTHERS: Final = (
    (b"\x89HDF", "is an HDF5 file, as Keras writes them: convert it to a state dict of PyTorch"),
    (b"GGUF", "is a GGUF file: convert it to a state dict of PyTorch"),
    (b"automlwt", "is a packed weight file of a compressed network: give the dense state dict"),
    (b"version https://git-lfs", "is a pointer of Git LFS: fetch the file itself, git lfs pull"),
    (b"<", "is a web page, not the file that was to be downloaded"),
)
_SAVE: Final = "torch.save(model.state_dict(), 'weights.pt')"
_NOT_OURS: Final = f"torch.save did not write it so, as {_SAVE} does"
#: A file of torch's old form begins with: a magic number, a version, the system, what was saved.
_PICKLES: Final = 4
_LONGEST_NAME: Final = 200  # of a class, with its module
_LONGEST_HEADER: Final = 100_000_000  # of a safetensors file, as its library has it
_GLOBAL: Final = re.compile(r"GLOBAL ([\w.]+)")


def read_weights(path: Path) -> Any:
    """What a file of weights holds: tensors and plain values, in mappings.

    It is what `torch.save` wrote, read with `weights_only=True`, or a safetensors file.

    Raises:
        ModelError: Something else is in it, and what to do; or a library is missing.
    """
    try:
        with open_file(path) as file:
            head = file.read(64)
            size = file.seek(0, 2)
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise ModelError(f"{path} cannot be read: {reason}") from None
    if not head:
        raise ModelError(f"{path} is empty")
    for start, advice in _OTHERS:
        if head.lstrip().startswith(start):
            raise ModelError(f"{path} {advice}")
    if _is_safetensors(head, size):
        return _safetensors(path)
    if head.startswith(b"PK"):
        _refuse_archive(path)
    else:
        _check_pickles(path, lambda: open_file(path), _PICKLES)
    found = attempt(lambda: torch.load(path, map_location="cpu", weights_only=True))
    if isinstance(found, Raised):
        raise ModelError(_refusal(path, found.error)) from found.error
    return found


def _is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins with the length of a header, and that with a bracket."""
    if len(head) < 9 or head[8:9] != b"{":
        return False
    (length,) = struct.unpack("<Q", head[:8])
    return bool(2 <= length <= min(size - 8, _LONGEST_HEADER))


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise ModelError(
            f"{path} is read by safetensors, which is not installed: "
            f"{install_command('safetensors')}"
        ) from None
    found = attempt(lambda: load_file(path))
    if isinstance(found, Raised):
        raise ModelError(f"{path} cannot be read as safetensors: {found.error}") from found.error
    return found


def _refuse_archive(path: Path) -> None:
    """Refuse archives that hold no state dict."""
    names = [each.filename for each in members(path, ModelError)]
    last = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in last and any("/code/" in name for name in names):
        raise ModelError(
            f"{path} is a TorchScript file: save the weights alone,"
            " torch.save(torch.jit.load(path).state_dict(), 'weights.pt')"
        )
    if "archive_format" in last or any("/models/" in name for name in names):
        raise ModelError(
            f"{path} is an exported program: it is a model with its weights, name it as the model"
        )
    if names and all(name.endswith(".npy") for name in names):
        raise ModelError(f"{path} holds arrays of NumPy: save them as a state dict of tensors")
    pickled = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    if len(pickled) != 1:
        raise ModelError(f"{path} is an archive that torch.save did not write")
    _check_pickles(path, lambda: _member(path, pickled[0]), 1)


@contextmanager
def _member(path: Path, name: str) -> Iterator[IO[bytes]]:
    with ZipFile(path) as archive, archive.open(name) as file:
        yield file


def _check_pickles(
    path: Path, opened: Callable[[], AbstractContextManager[IO[bytes]]], count: int
) -> None:
    """Look through pickles, one behind the other, before anything is made of them.

    torch takes the square of the length of a name to say that it is not allowed.

    Raises:
        ModelError: A name that none is, or no pickle.
    """

    def look() -> str:
        with opened() as file:
            for _ in range(count):
                for code, argument, _ in pickletools.genops(file):
                    if code.name in ("GLOBAL", "INST") and len(str(argument)) > _LONGEST_NAME:
                        return str(argument)
        return ""

    found = attempt(look)
    if isinstance(found, Raised):
        raise ModelError(f"{path} cannot be read as a state dict: {_NOT_OURS}")
    if found:
        raise ModelError(f"{path} cannot be read as a state dict: it names {shown(found)}")


def _refusal(path: Path, error: BaseException) -> str:
    """Why a file is not read, and what to do."""
    found = _GLOBAL.search(str(error))
    if found is not None:
        return (
            f"{path} cannot be read as a state dict: it holds objects of {found[1]}, and to read"
            f" these is to run code; save tensors alone, {_SAVE}"
        )
    lines = str(error).strip().splitlines()
    reason = lines[0].partition(". ")[0] if lines else "it ends early"
    if type(error).__name__ == "UnpicklingError":
        reason = _NOT_OURS
    return f"{path} cannot be read as a state dict: {type(error).__name__}: {reason}"


def refuse_as_model(path: Path) -> None:
    """Say what to do with a file that is given for a model.

    Raises:
        ModelError: Always.
    """
    if path.suffix.lower() == ".onnx":
        raise ModelError(f"{path} is an ONNX graph: name the torch.nn.Module that it was made from")
    held = attempt(lambda: read_weights(path))
    what = "holds weights without the model that they are of"
    if isinstance(held, Raised):
        what = str(held.error).removeprefix(f"{path} ")
    elif not isinstance(held, Mapping):
        what = f"holds a {type(held).__name__}"
    raise ModelError(
        f"the model {path} {what}; a model is named by its code, file.py:name or"
        " package.module:name, and such a file given as its weights"
    )
