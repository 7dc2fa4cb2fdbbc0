"""What is shared changes no result, and is made once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import agreement, request, task, write_table
from torch import nn

from automl.errors import StudyError, UsageError
from automl.pipeline import Sharing, make_context, price_request, search
from automl.pipeline import sharing as sharing_module
from automl.pipeline.pricing import PricedNetwork
from automl.pipeline.requests import Event, SearchRequest, ignore
from automl.pipeline.sharing import prepared_key, read_prepared


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("sharing") / "board.jsonl", "fp32", "int8")


@pytest.fixture
def asked(board: Path, tmp_path: Path) -> SearchRequest:
    return request(board, tmp_path / "run", "60%", agent="random")


def test_searches_with_and_without_sharing_find_the_same(
    asked: SearchRequest, tmp_path: Path
) -> None:
    alone = search(asked)
    stages: Counter[str] = Counter()
    sharing = Sharing(tmp_path / "shared")
    for number, folder in enumerate(("first", "second", "another process")):
        if number == 2:
            sharing = Sharing(tmp_path / "shared")
        stages.clear()
        again = dataclasses.replace(asked, out=tmp_path / folder)
        found = search(again, lambda event: stages.update([event.stage]), sharing)
        assert found.compressed == alone.compressed
        assert found.policy.policy == alone.policy.policy
        made = {"ranking channels", "sensitivity"} & stages.keys()
        assert made == ({"ranking channels", "sensitivity"} if number == 0 else set())


def test_the_dense_network_is_judged_once(asked: SearchRequest, tmp_path: Path) -> None:
    scored: list[int] = []

    def score(network: nn.Module, data: Iterable[tuple[torch.Tensor, Any]]) -> float:
        pairs = list(data)
        scored.append(sum(len(inputs) for inputs, _ in pairs))
        return agreement(network, pairs)

    asked = dataclasses.replace(asked, task=dataclasses.replace(asked.task, score=score))
    sharing, times = Sharing(), []
    for budget in ("60%", "70%"):
        scored.clear()
        again = dataclasses.replace(asked, budget=(budget,), out=tmp_path / budget)
        search(again, ignore, sharing)
        times.append(scored.count(4))  # test inputs
    assert times == [2, 1]


@pytest.mark.parametrize("compensation", [True, False])
def test_what_is_handed_round_is_read_without_running_code(
    compensation: bool, asked: SearchRequest, tmp_path: Path
) -> None:
    bits = dataclasses.replace(asked, precisions=("int8",), compensation=compensation)
    sharing = Sharing(tmp_path / "shared")
    context = sharing.context(sharing.price(bits, ignore), bits, ignore)
    (path,) = (tmp_path / "shared").glob("prepared-*.pt")
    torch.load(path, weights_only=True)
    found = read_prepared(path)
    assert found.orders.keys() == context.compressor.orders.keys()
    for name, order in context.compressor.orders.items():
        assert found.orders[name].order == order.order
        assert found.orders[name].error == order.error
        blocks = zip(chain(*found.orders[name].removed), chain(*order.removed), strict=True)
        for one, other in blocks:
            assert torch.equal(one.gone, other.gone)
            assert (one.rows is not None) == (other.rows is not None) == compensation
            if one.rows is not None and other.rows is not None:
                assert torch.equal(one.rows, other.rows)
    pairs = zip(found.sensitivity.single, context.sensitivity.single, strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    assert len(found.sensitivity.pairwise) == len(context.sensitivity.pairwise) > 0
    again = make_context(context.network, bits, ignore, prepared=found)
    policy = context.network.space.decode(context.network.space.dense)
    assert again.evaluator(policy) == context.evaluator(policy)


def test_the_key_is_of_weights_data_choices_and_options(
    asked: SearchRequest, tmp_path: Path
) -> None:
    sharing = Sharing()
    network = sharing.price(asked, ignore)
    first = prepared_key(network, asked)
    assert prepared_key(network, dataclasses.replace(asked, budget=("40%",))) == first
    retrained = task()
    with torch.no_grad():
        next(retrained.model.parameters()).add_(1e-3)
    others = [
        dataclasses.replace(asked, task=retrained),
        dataclasses.replace(asked, seed=1),
        dataclasses.replace(asked, calibration=5),
    ]
    assert len({first, *(prepared_key(network, other) for other in others)}) == 4
    narrow = dataclasses.replace(asked, depth=False)
    assert prepared_key(sharing.price(narrow, ignore), narrow) != first


@pytest.mark.parametrize(
    "changes",
    [
        {"importance": "l2"},
        {"compensation": False},
        {"reconstruction": "independent"},
        {"quantization": "nearest"},
        {"calibration": 5},
    ],
    ids=lambda each: "-".join(each),
)
def test_prices_do_not_depend_on_what_weights_are_made_by(
    changes: dict[str, Any], asked: SearchRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharing = Sharing()
    network = sharing.price(asked, ignore)
    other = dataclasses.replace(asked, **changes)
    anew = price_request(other, ignore)
    assert anew.costs.digest == network.costs.digest
    assert anew.space.digest == network.space.digest
    monkeypatch.setattr(sharing_module, "price_request", None)
    assert sharing.price(other, ignore) is network
    assert prepared_key(network, other) != prepared_key(network, asked)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"importance": "bn-scale"}, "bn-scale"), ({"memory": 1}, "memory")],
    ids=["importance", "memory"],
)
def test_what_no_weights_can_be_made_by_is_refused_with_known_prices_too(
    changes: dict[str, Any], said: str, asked: SearchRequest
) -> None:
    sharing = Sharing()
    bare = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 16), nn.Flatten()
    )
    subject = dataclasses.replace(asked.task, model=bare.eval())
    first = dataclasses.replace(asked, task=subject, budget=("60%MACs",), resolutions=())
    sharing.price(first, ignore)
    with pytest.raises(UsageError, match=said):
        sharing.price(dataclasses.replace(first, **changes), ignore)


def test_networks_of_one_model_at_two_sizes_share_no_file(
    asked: SearchRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Path] = []

    def priced(request: SearchRequest, *_: object, keep: Path, **more: object) -> PricedNetwork:
        kept.append(keep)
        return price_request(request, ignore)

    monkeypatch.setattr(sharing_module, "price_request", priced)
    keys = []
    for shape in ((1, 3, 16, 16), (1, 3, 32, 32)):
        larger = dataclasses.replace(asked.task, input_shape=shape)
        one = dataclasses.replace(asked, target="rpi4-1t", task=larger, resolutions=())
        keys.append(prepared_key(Sharing(tmp_path / "shared").price(one, ignore), one))
    assert len(set(kept)) == len(set(keys)) == 2


def test_another_task_takes_the_place_of_what_is_remembered(asked: SearchRequest) -> None:
    sharing = Sharing()
    network = sharing.price(asked, ignore)
    assert sharing.price(dataclasses.replace(asked, seed=0), ignore) is network
    other = sharing.price(dataclasses.replace(asked, task=task()), ignore)
    assert other is not network
    assert sharing.price(asked, ignore) is not network


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "prepared-x.pt"
    path.write_bytes(b"nothing")
    with pytest.raises(StudyError, match=r"prepared-x\.pt: .*delete it to make it anew"):
        read_prepared(path)


def test_listeners_hear_of_what_is_made(asked: SearchRequest) -> None:
    heard: list[Event] = []
    sharing = Sharing()
    sharing.context(sharing.price(asked, heard.append), asked, heard.append)
    assert {"reading the network", "calibrating"} <= {event.stage for event in heard}
