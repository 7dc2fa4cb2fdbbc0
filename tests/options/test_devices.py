"""Options of measuring a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl.errors import OptionError
from automl.options.devices import ProfileOptions


def test_this_machine_is_measured_unless_another_is_named() -> None:
    found = ProfileOptions(profile="trace.json", ssh="me@board")
    assert (found.target, found.profile, found.ssh) == ("cpu", Path("trace.json"), ("me@board",))


def test_a_boards_interpreter_needs_a_board() -> None:
    with pytest.raises(OptionError, match="there are none") as raised:
        ProfileOptions(python="/opt/python")
    assert (raised.value.option, raised.value.options) == ("python", ("ssh",))
