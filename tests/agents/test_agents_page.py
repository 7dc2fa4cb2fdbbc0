"""docs/agents.md says what the agents say of themselves, and names all of their options."""

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


def test_every_agent_has_a_section_in_the_order_of_the_registry() -> None:
    assert list(sections()) == ["Which one is worth its evaluations", *AGENTS.ours]


@pytest.mark.parametrize("entry", AGENTS.ours.values(), ids=AGENTS.ours)
def test_a_section_starts_with_the_registrys_own_words(entry: Method) -> None:
    quoted = "\n".join(f"> {line}" for line in entry.summary.splitlines())
    start = f"{quoted}\n>\n> {entry.paper}\n\n"
    section = sections()[entry.name]
    assert section.startswith(start), f"docs/agents.md, {entry.name}: write\n{start}"
    assert len(section) > len(start) + 100


@pytest.mark.parametrize("entry", AGENTS.ours.values(), ids=AGENTS.ours)
def test_a_section_names_every_option(entry: Method) -> None:
    module, _, attribute = entry.maker.partition(":")
    options = inspect.signature(getattr(import_module(module), attribute)).parameters
    for name in options.keys() - {"problem", "seed"}:
        assert f"`{name}`" in sections()[entry.name]


def test_all_knobs_of_amc_are_named() -> None:
    for knob in fields(AmcSettings):
        assert f"`{knob.name}`" in sections()["amc"]
