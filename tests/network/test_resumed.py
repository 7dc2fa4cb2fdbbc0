"""A network whose first part is run once gives what it would give itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from automl.network.forward_tracer import ForwardTracer, LeafCall
from automl.network.resumed import ResumedPasses


class Forked(nn.Module):
    """A shortcut, operations that write in place, and a layer that is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.first(x))
        seen = x.view(len(x), -1).mean(1)
        y = torch.relu_(self.inner(x))
        x += self.last(y)  # what was kept is written into
        x = torch.relu_(self.last(x))
        return self.head(x.mean((2, 3))) + seen[:, None]


class Counted(TorchDispatchMode):
    """Counts convolutions that are run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.convolutions = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.convolutions += func.overloadpacket.__name__ == "convolution"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Forked().eval()


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize(
    "names", [("first",), ("inner",), ("last",), ("head",), ("inner", "head"), ("",), ()]
)
@torch.no_grad()
def test_each_pass_gives_what_the_network_gives_with_its_weights_of_now(
    model: nn.Module, names: tuple[str, ...]
) -> None:
    passes, shown = ResumedPasses(model), images()
    torch.testing.assert_close(passes.whole(shown), model(shown), rtol=0, atol=0)
    resumed = passes.since(names)
    for _ in range(3):
        torch.testing.assert_close(resumed(shown), model(shown), rtol=0, atol=0)
        for name in names:
            for parameter in model.get_submodule(name).parameters():
                parameter.mul_(1.5).add_(0.1)
    torch.testing.assert_close(resumed(shown), model(shown), rtol=0, atol=0)


def run_by(made: Callable[[Tensor], Any], shown: Tensor) -> int:
    """Convolutions that a pass runs."""
    with Counted() as counted:
        made(shown)
    return counted.convolutions


@torch.no_grad()
def test_what_comes_before_is_run_once_for_the_same_inputs(model: nn.Module) -> None:
    passes, shown, part = ResumedPasses(model), images(), images()[:1]
    for each in (shown, part):
        passes.whole(each)
    last = passes.since(("last",))
    assert [run_by(last, each) for each in (shown, shown, part, part, shown)] == [4, 2, 4, 2, 2]


@torch.no_grad()
def test_a_later_place_begins_at_an_earlier_one_and_an_earlier_one_anew(model: nn.Module) -> None:
    passes, shown = ResumedPasses(model), images()
    passes.whole(shown)
    inner, last, head = (passes.since((name,)) for name in ("inner", "last", "head"))
    ran = [run_by(each, shown) for each in (inner, inner, last, last, head, head, inner, inner)]
    assert ran == [4, 3, 3, 2, 2, 0, 4, 3]
    for each in (inner, last, head, head):
        torch.testing.assert_close(each(shown), model(shown), rtol=0, atol=0)


@torch.no_grad()
def test_inputs_that_were_never_seen_whole_are_run_whole(model: nn.Module) -> None:
    passes = ResumedPasses(model)
    passes.whole(images())
    other = passes.since(("head",))
    for _ in range(4):  # a batch that is let go of could leave its place to the next
        shown = torch.randn(2, 3, 6, 6)
        torch.testing.assert_close(other(shown), model(shown), rtol=0, atol=0)
        assert run_by(other, shown) == 4
        del shown


@torch.no_grad()
def test_another_module_may_run_in_a_modules_place(model: nn.Module) -> None:
    passes, shown = ResumedPasses(model), images()
    passes.whole(shown)
    resumed = passes.since(("inner",))
    resumed(shown)
    model.set_submodule("inner", nn.Identity())
    torch.testing.assert_close(resumed(shown), model(shown), rtol=0, atol=0)
    assert run_by(resumed, shown) == 2


@torch.no_grad()
def test_operations_may_be_touched_and_another_way_to_run_given(model: nn.Module) -> None:
    class Doubled(ForwardTracer):
        """Doubles what the first ReLU of the network wrote."""

        def after(
            self, step: LeafCall, func: Any, args: Any, kwargs: dict[str, Any], output: Any
        ) -> None:
            if step.address == ("", 1):
                output.mul_(2.0)

    def run(shown: Tensor) -> Tensor:
        with Doubled(model).attached():
            found: Tensor = model(shown)
        return found

    passes, shown = ResumedPasses(model), images()
    passes.whole(shown)
    resumed = passes.since((), {("", 1)}, run)
    for _ in range(2):
        torch.testing.assert_close(resumed(shown), run(shown), rtol=0, atol=0)
    assert not torch.equal(resumed(shown), model(shown))


@torch.no_grad()
def test_a_parameter_that_is_read_outside_its_module_counts(model: nn.Module) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = model

        def forward(self, x: Tensor) -> Tensor:
            weight = model.get_submodule("head").weight
            assert isinstance(weight, Tensor)
            return self.body(x * weight.mean())

    tied, shown = Tied().eval(), images()
    passes = ResumedPasses(tied)
    passes.whole(shown)
    resumed = passes.since(("body.head",))
    resumed(shown)
    next(model.get_submodule("head").parameters()).mul_(2.0)
    torch.testing.assert_close(resumed(shown), tied(shown), rtol=0, atol=0)


@torch.no_grad()
def test_a_pass_that_fails_is_begun_anew(model: nn.Module) -> None:
    passes, shown = ResumedPasses(model), images()
    with pytest.raises(RuntimeError):
        passes.whole(torch.randn(2, 5, 6, 6))
    passes.whole(shown)
    head = passes.since(("head",))
    weight = next(model.get_submodule("last").parameters())
    kept, weight.data = weight.data, torch.zeros(8, 3, 1, 1)
    with pytest.raises(RuntimeError):
        head(shown)
    weight.data = kept
    torch.testing.assert_close(head(shown), model(shown), rtol=0, atol=0)


@torch.no_grad()
def test_no_more_is_kept_than_the_limit_and_what_is_not_is_run_again(model: nn.Module) -> None:
    one, two = images()[:1].clone(), images()[1:2].clone()
    maps = 3 * 8 * 6 * 6 * 4  # what `first` and `inner` wrote, a copy of it, and a mean
    passes = ResumedPasses(model, limit=maps)
    for each in (one, two):
        passes.whole(each)
    last = passes.since(("last",))
    ran = []
    for inputs in (one, one, two, two, one):
        torch.testing.assert_close(last(inputs), model(inputs), rtol=0, atol=0)
        ran.append(run_by(last, inputs))
    assert ran == [2, 2, 4, 4, 2]


@torch.no_grad()
def test_where_a_place_takes_too_much_the_one_before_is_begun_at(model: nn.Module) -> None:
    passes, shown = ResumedPasses(model, limit=2 * 8 * 6 * 6 * 4), images()[:1].clone()
    passes.whole(shown)
    inner, last = passes.since(("inner",)), passes.since(("last",))
    assert [run_by(each, shown) for each in (inner, inner, last, last)] == [4, 3, 3, 3]
    torch.testing.assert_close(last(shown), model(shown), rtol=0, atol=0)


@torch.no_grad()
def test_fused_attention_is_off_while_passes_run_and_on_again_after() -> None:
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    passes, shown = ResumedPasses(attention), torch.randn(2, 5, 8)
    whole = passes.whole(shown)
    resumed = passes.since(("linear1",))
    for _ in range(2):
        torch.testing.assert_close(resumed(shown), whole, rtol=0, atol=0)
    assert torch.backends.mha.get_fastpath_enabled()
