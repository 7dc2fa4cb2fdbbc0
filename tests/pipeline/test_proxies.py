"""What stands for a policy while candidates are ranked: what is delivered is finished as ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import loaders, model, request, write_table

import automl
from automl.errors import OptionError, StudyError
from automl.pipeline import Event, SearchRequest, search
from automl.pipeline.searching import prepare
from automl.policy import Policy, read_policy
from automl.recovery import ShortRecovery


@pytest.fixture
def board(tmp_path: Path) -> Path:
    return write_table(tmp_path / "board.jsonl")


def asked(board: Path, out: str, **changes: Any) -> SearchRequest:
    given: dict[str, Any] = {"choices": ("channels", "blocks"), "resolutions": None} | changes
    return request(board, board.with_name(out), "60%MACs", **given)


def test_candidates_are_scored_raw_and_the_best_is_delivered_finished(board: Path) -> None:
    proxied = asked(board, "run", proxy="adaptive-bn", agent="random", trials=6)
    result = search(proxied)
    usual = prepare(asked(board, "usual"))
    ranked = prepare(asked(board, "ranked", proxy="adaptive-bn"))
    policy = result.policy.policy
    assert ranked.evaluate(policy) != usual.evaluate(policy)
    made = usual.make(policy).state_dict()
    assert all(torch.equal(value, made[name]) for name, value in result.model.state_dict().items())
    fronts = [read_policy(path) for path in sorted((result.out / "front").glob("*.json"))]
    assert all(each.scored_on.endswith("raw L1 filters, norms re-estimated") for each in fronts)
    best = max(fronts, key=lambda each: each.score or -1e9)
    assert best.policy == policy
    assert best.score == pytest.approx(ranked.evaluate(policy))


def test_a_study_of_another_proxy_is_not_gone_on_with(board: Path) -> None:
    search(asked(board, "run"))
    with pytest.raises(StudyError, match=r"another compression.*proxy=raw L1 filters"):
        search(asked(board, "run", proxy="adaptive-bn", resume=True))


def test_a_network_without_norms_is_refused_before_it_is_priced(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl.pipeline.context.price_network", None)
    bare = model()
    bare.norm = torch.nn.Identity()  # type: ignore[assignment]
    with pytest.raises(OptionError, match="re-estimates batch norms, and this network has none"):
        automl.prepare(
            bare,
            loaders(),
            score="logits",
            target=str(board),
            budget="60%MACs",
            choices=("channels", "blocks"),
            proxy="adaptive-bn",
            out=board.with_name("run"),
        )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"proxy": "adaptive_bn"}, "did you mean adaptive-bn"),
        ({"proxy": "adaptive-bn"}, "more may be chosen: give choices channels,blocks"),
        ({"proxy": "adaptive-bn", "choices": "channels,rank"}, "more may be chosen"),
        ({"proxy": "adaptive-bn", "choices": "channels,bits"}, "more may be chosen"),
        ({"recover_in_loop": "kd:20"}, "write kd:20steps"),
        ({"recover_in_loop": "20steps"}, "more may be chosen"),
        (
            {"recover_in_loop": "20steps", "proxy": "adaptive-bn"},
            "is one way to rank candidates and",
        ),
        ({"supernet": "30"}, "write 30min or 500steps"),
        ({"supernet": "30mins"}, "expected a time such as"),
        ({"supernet": "0steps"}, "write 30min or 500steps"),
        ({"supernet": "30min", "recover_in_loop": "20steps"}, "is one way to rank candidates and"),
        (
            {"recover_in_loop": "20steps", "choices": "channels", "workers": 2},
            "your loader, which is in this process",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        automl.prepare(model(), loaders(), target="board", budget="60%MACs", **given)


TRAINED = {"recover_in_loop": "kd:3steps"}


def test_candidates_are_trained_before_they_are_scored(board: Path) -> None:
    usual, trained = prepare(asked(board, "usual")), prepare(asked(board, "trained", **TRAINED))
    policy = usual.problem.space.decode(usual.problem.space.random(1, np.random.default_rng(0))[0])
    assert trained.evaluate(policy) != usual.evaluate(policy)
    result = search(asked(board, "run", **TRAINED))
    front = read_policy(next((result.out / "front").glob("*.json")))
    assert front.scored_on.endswith("refitted and trained by kd for 3 steps")
    made = usual.make(result.policy.policy).state_dict()  # what is delivered was not trained
    assert all(torch.equal(value, made[name]) for name, value in result.model.state_dict().items())


def test_a_search_that_was_ended_goes_on_to_the_same_end(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of the third candidate's training."""
    whole = search(asked(board, "whole", **TRAINED))
    seen, trained = list[int](), ShortRecovery.__call__

    def ended(self: ShortRecovery, policy: Policy) -> torch.nn.Module:
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return trained(self, policy)

    with monkeypatch.context() as patch:
        patch.setattr(ShortRecovery, "__call__", ended)
        search(asked(board, "run", **TRAINED))
    again = search(asked(board, "run", resume=True, **TRAINED))
    assert again.policy.policy == whole.policy.policy
    assert again.policy.score == whole.policy.score
    assert again.trials == whole.trials


def test_losses_that_candidates_cannot_have_are_refused(board: Path) -> None:
    with pytest.raises(OptionError, match="hints reads places inside the network"):
        prepare(asked(board, "run", recover_in_loop="kd+hints:3steps"))


SUPERNET = {"supernet": "6steps"}


def test_candidates_are_slices_of_a_supernet_that_is_kept(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = search(asked(board, "run", **SUPERNET))
    assert (result.out / "supernet.pt").is_file()
    front = read_policy(next((result.out / "front").glob("*.json")))
    assert front.scored_on.endswith("slices of a supernet of 6steps")
    usual = prepare(asked(board, "usual"))
    made = usual.make(result.policy.policy).state_dict()  # no slice is delivered
    assert all(torch.equal(value, made[name]) for name, value in result.model.state_dict().items())
    monkeypatch.setattr("automl.recovery.supernet.Supernet._step", None)  # not trained again
    again = prepare(asked(board, "run", **SUPERNET))
    assert again.evaluate(result.policy.policy) == pytest.approx(front.score)


def test_a_supernet_that_was_killed_goes_on(board: Path) -> None:
    whole = prepare(asked(board, "whole", **SUPERNET))

    def ended(event: Event) -> None:
        if event.stage == "training a supernet" and event.done >= 50:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("automl.recovery.supernet._EVERY", 0.0)
        with pytest.raises(KeyboardInterrupt):
            search(asked(board, "run", **SUPERNET), ended)
    policy = Policy({"stem": 8}, removed=frozenset({"block"}))
    again = prepare(asked(board, "run", **SUPERNET))
    assert again.evaluate(policy) == whole.evaluate(policy)
