"""Choices of further kinds in a policy file are checked where it is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from automl.errors import PolicyError
from automl.methods import Method
from automl.policy.file import check_fits, read_policy, write_policy
from automl.policy.further import check_further
from automl.policy.policy import Policy
from automl.space import KINDS
from policy_files import NETWORK, POLICY, policy_file
from toy_kind import known

FURTHER = POLICY | Policy(further={"taper": {"mix": "rank 4", "stem": "dense"}})


def test_they_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    write_policy(policy_file(FURTHER), path)
    with known():
        file = read_policy(path)
        check_fits(file, NETWORK)
    assert file.policy == FURTHER
    assert hash(file.policy) == hash(FURTHER)


def test_an_unknown_kind_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    write_policy(policy_file(Policy(further={"tapir": {"mix": "rank 4"}})), path)
    said = r"policy .*policy\.json: further: no kind of choice 'tapir' \(did you mean taper"
    with known(), pytest.raises(PolicyError, match=said):
        read_policy(path)


@pytest.mark.parametrize(
    ("further", "said"),
    [
        ({"taper": {"mix": "4"}}, "here.taper.mix: '4' is no option: ValueError: '4' is no rank"),
        ({"channels": {"stem": "4"}}, "here: no kind of choice 'channels'"),
        ({"broken": {"mix": "4"}}, "here: kind of choice 'broken' of automl cannot be used: torn"),
    ],
)
def test_what_no_kind_can_read_is_refused(further: dict[str, dict[str, str]], said: str) -> None:
    broken = Method("broken", "", "", "nowhere:nothing", fault="torn")
    with known(), KINDS.including(broken), pytest.raises(PolicyError, match=said):
        check_further(further, "here")


def test_a_part_that_the_model_lacks_is_refused() -> None:
    file = policy_file(Policy(further={"taper": {"mox": "rank 4"}}))
    with pytest.raises(PolicyError, match=r"the model has no part 'mox' \(did you mean mix"):
        check_fits(file, NETWORK)


def test_reading_them_loads_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    write_policy(policy_file(Policy(further={"made-up": {"mix": "less"}})), path)
    (tmp_path / "made_up.py").write_text(
        "class Kind:\n    def parse(self, text):\n        return 1\n"
    )
    script = (
        "import sys; from pathlib import Path; from automl.methods import Method, registry\n"
        "from automl import read_policy\n"
        "with registry('kinds').including(Method('made-up', '', '', 'made_up:Kind')):\n"
        f"    print(dict(read_policy(Path({str(path)!r})).policy.further['made-up']))\n"
        "print('torch' in sys.modules)"
    )
    source = Path(__file__).resolve().parents[2] / "search"
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{source}:{tmp_path}"},
    )
    assert done.stdout.split("\n")[:2] == ["{'mix': 'less'}", "False"]
