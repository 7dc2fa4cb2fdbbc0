"""What is noted of the machine."""

from __future__ import annotations

from dataclasses import replace

from automl.profiling.device import Conditions, conditions, disturbed, others_load

STATE = Conditions("Chip", 2, "performance", 2e9, 50.0, "15W")


def test_what_is_noted_reads_well() -> None:
    assert str(STATE) == ("Chip, 2 cores, 2.00 GHz, governor performance, 50 °C, power mode 15W")
    assert str(Conditions("Chip", 2, "", None, None, "")) == "Chip, 2 cores"


def test_this_machine() -> None:
    assert conditions().processor
    assert conditions().cores >= 1
    assert others_load(0.05) >= 0.0


def test_what_disturbs_is_said() -> None:
    assert disturbed(1, 0.4, STATE) == ""
    assert "2.0 of 2 cores" in disturbed(1, 2.0, STATE)
    assert "cores busy" in disturbed(2, 0.4, STATE)
    assert "91 °C" in disturbed(1, 0.0, replace(STATE, temperature=91.0))
    assert "powersave" in disturbed(1, 0.0, replace(STATE, governor="powersave"))
