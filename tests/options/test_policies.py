"""Options of making a policy's model."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl.errors import OptionError, UsageError
from automl.options.policies import ApplyOptions


def test_paths_are_read_and_nothing_has_to_be_given() -> None:
    assert ApplyOptions(export="a.onnx").export == Path("a.onnx")
    assert ApplyOptions() == ApplyOptions(recover="0", huffman=False)


def test_only_what_is_written_is_coded() -> None:
    with pytest.raises(OptionError, match="none are written") as raised:
        ApplyOptions(huffman=True)
    assert (raised.value.option, raised.value.options) == ("huffman", ("packed",))
    assert ApplyOptions(huffman=True, packed="w").huffman
    with pytest.raises(OptionError) as raised:
        ApplyOptions(tensorboard=True)
    assert (raised.value.option, raised.value.options) == ("tensorboard", ("recover",))
    assert ApplyOptions(tensorboard=True, recover="kd:1").tensorboard


@pytest.mark.parametrize("recover", ["20", 20, "kd+hints:20", "auto:30min", "mine.toml"])
def test_recoveries_are_kept_as_they_are_written(recover: object) -> None:
    assert ApplyOptions(recover=recover).recover == str(recover)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"recover": "kd+hint:20"}, r"recover: no term 'hint' \(did you mean hints"),
        ({"recover": "atuo:20"}, r"recover: no term 'atuo' \(did you mean auto"),
        ({"recover": True}, "expected a recovery such as"),
        ({"recover": "5", "start": "scratsh"}, "no start 'scratsh' .*scratch"),
        ({"recover": "5", "quantizer": "lsg"}, r"no trained-quantizer 'lsg' \(did you mean lsq"),
        ({"recover": "5", "quantizer": "ttq:treshold=1"}, r"ttq 'treshold' \(did you mean thres"),
        ({"quantizer": "pact"}, "quantizer: rounds in a training of some epochs"),
        ({"recover": "auto:1h", "quantizer": "pact"}, "quantizer: rounds in a training of some"),
        ({"hook": "zero-out"}, "hook: acts between the steps of a training of some epochs"),
        ({"recover": "5", "hook": "zero-ou"}, "no hook 'zero-ou' .*zero-out"),
        ({"recover": "5", "hook": ["zero-out:shar=1"]}, "no option of hook zero-out 'shar'.*share"),
        ({"start": "scratch"}, "start: is where a training of some epochs begins"),
        ({"recover": "auto:1h", "start": "scratch"}, "start: is where a training of some epochs"),
    ],
)
def test_what_cannot_be_trained_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ApplyOptions(**given)
