"""docs/agents.md names all options of the agents; what each is stands in docs/methods.md."""

import inspect
import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from automl.agents.amc import AmcSettings
from automl.agents.registry import AGENTS
from automl.methods import Method

PAGE = Path(__file__).resolve().parents[2] / "docs" / "agents.md"


def sections() -> dict[str, str]:
    _, *parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in parts}


def options_of(entry: Method) -> set[str]:
    """What an agent is made with beside the problem and the seed."""
    module, _, attribute = entry.maker.partition(":")
    parameters = inspect.signature(getattr(import_module(module), attribute)).parameters
    return parameters.keys() - {"problem", "seed"}


def test_sections_are_in_the_order_of_the_registry() -> None:
    _, *agents = sections()
    assert agents == [name for name in AGENTS.ours if name in agents]


@pytest.mark.parametrize(
    "entry", [each for each in AGENTS.ours.values() if options_of(each)], ids=lambda each: each.name
)
def test_an_agent_with_options_has_a_section_that_names_them(entry: Method) -> None:
    for name in options_of(entry):
        assert f"`{name}`" in sections()[entry.name]


def test_all_knobs_of_amc_are_named() -> None:
    for knob in fields(AmcSettings):
        assert f"`{knob.name}`" in sections()["amc"]
