"""A project's first automl.toml: what was asked for, and beside it what else may stand there."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Final

from automl.options import Option, SearchOptions, TaskOptions, options_of

#: Keys of a first file in their order, each with a value that shows how it is written.
SHOWN_KEYS: Final[Mapping[str, object]] = {
    "model": "mymodel.py:network",
    "weights": "weights.pt",
    "data": "mydata.py:loaders",
    "score": "logits",
    "input_shape": "3x224x224",
    "target": "cpu",
    "budget": ["50%"],
    "precisions": "float",
    "choices": "channels,blocks,bits,resolution",
    "time": "10min",
    "measure": True,
    "out": "runs/first",
    "seed": 0,
}
_HEAD: Final = """\
# Flags of the command win over what stands here, and each flag of automl search is a key here, with
# _ in place of -. Paths start at this folder. Lines behind a # show what else there is.
"""
_WIDTH: Final = 98


def settings_text(given: Mapping[str, object]) -> str:
    """The text of an automl.toml with comments.

    Args:
        given: Values by key, as texts or lists of texts; keys that are not of `SHOWN_KEYS` follow.
    """
    known = {
        each.name: each for owner in (TaskOptions, SearchOptions) for each in options_of(owner)
    }
    keys = dict.fromkeys((*SHOWN_KEYS, *given))
    return "\n".join((_HEAD, *(_entry(known[key], given) for key in keys)))


def _entry(option: Option, given: Mapping[str, object]) -> str:
    """A key with what it decides; behind a # where it was not given."""
    told = textwrap.fill(
        option.described(),
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    mark, value = (
        ("", given[option.name]) if option.name in given else ("# ", SHOWN_KEYS[option.name])
    )
    return f"{told}\n{mark}{option.name} = {_written(value)}\n"


def _written(value: object) -> str:
    """A value as TOML: a JSON text is one but for DEL, which TOML wants by its number."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
