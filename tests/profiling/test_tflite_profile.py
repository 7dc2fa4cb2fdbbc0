"""Tables that TFLite's benchmark_model prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl.errors import UsageError
from automl.profiling.tflite_profile import is_tflite, read_tflite

HEAD = "node type, start, first, avg_ms, %, cdf%, mem KB, times called, name\n"


def table(*lines: str, head: str = HEAD) -> str:
    return "=== Run Order ===\n" + head + "".join(f"{line}\n" for line in lines)


def csv(kind: str, milliseconds: str, name: str) -> str:
    return f"{kind}, 0, 0.1, {milliseconds}, 1%, 1%, 0, 1, {name}"


PATH = Path("p.csv")


def test_a_profile_is_known_by_its_table() -> None:
    assert is_tflite(table())
    assert not is_tflite("Run Order")


def test_lines_are_operators_with_their_names_and_times() -> None:
    profile = read_tflite(
        table(csv("CONV_2D", "0.5", "[m/a/Relu;m/a/Conv2D]:0"), csv("ADD", "0.25", "[m/add]:1")),
        PATH,
    )
    assert profile.runtime == "tflite"
    conv, add = profile.nodes
    assert (conv.op, conv.seconds) == ("conv2d", pytest.approx(5e-4))
    assert conv.branches == (("a/Relu", "a/Conv2D"),)
    assert (add.op, add.branches) == ("add", (("add",),))


def test_the_last_table_is_that_of_the_timed_runs() -> None:
    text = table(csv("CONV_2D", "9", "[a]:0")) + "\n" + table(csv("CONV_2D", "1", "[a]:0"))
    (node,) = read_tflite(text, PATH).nodes
    assert node.seconds == pytest.approx(1e-3)


def test_what_is_no_operator_is_put_aside_with_its_reason() -> None:
    text = table(csv("RESHAPE", "1", "[a]:0"), csv("TfLiteXNNPackDelegate", "1", "[b]:1"))
    assert [node.aside for node in read_tflite(text, PATH).nodes] == [
        "RESHAPE is no operator that is priced",
        "a delegate's subgraph in one line",
    ]


def test_names_keep_their_first_word_where_it_is_not_that_of_all() -> None:
    text = table(csv("ADD", "1", "[m/a]:0"), csv("ADD", "1", "[n/b]:1"))
    assert [node.branches[0][0] for node in read_tflite(text, PATH).nodes] == ["m/a", "n/b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table(head="node type, name\n"), r"p\.csv, line 2: no column 'avg ms'"),
        (table(csv("ADD", "x", "[a]:0")), r"p\.csv, line 3: not a line"),
        (table(csv("ADD", "-1", "[a]:0")), r"line 3: not a line"),
        (table(csv("ADD", "nan", "[a]:0")), r"line 3: not a line"),
        (table("ADD, 0"), r"line 3: not a line"),
        ("=== Run Order ===", "line 2: no column 'node type'"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_tflite(text, PATH)
