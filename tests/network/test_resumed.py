"""A network whose first part is run once gives what it would give itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from automl.network.resumed import ResumedModel


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
    "names", [("first",), ("inner",), ("last",), ("head",), ("inner", "head"), ()]
)
@torch.no_grad()
def test_each_pass_gives_what_the_network_gives_with_its_weights_of_now(
    model: nn.Module, names: tuple[str, ...]
) -> None:
    resumed, shown = ResumedModel(model, names), images()
    for _ in range(3):
        torch.testing.assert_close(resumed(shown), model(shown), rtol=0, atol=0)
        for name in names:
            for parameter in model.get_submodule(name).parameters():
                parameter.mul_(1.5).add_(0.1)
    torch.testing.assert_close(resumed(shown), model(shown), rtol=0, atol=0)


@torch.no_grad()
def test_what_comes_before_is_run_once_for_the_same_inputs(model: nn.Module) -> None:
    resumed, shown = ResumedModel(model, ("last",)), images()
    ran = []
    for inputs in (shown, shown, shown[:1], shown[:1], shown):
        with Counted() as counted:
            resumed(inputs)
        ran.append(counted.convolutions)
    assert ran == [4, 2, 4, 2, 2]


@torch.no_grad()
def test_inputs_of_one_shape_are_told_apart(model: nn.Module) -> None:
    resumed = ResumedModel(model, ("last",))
    for _ in range(4):  # a batch that is let go of could leave its place to the next
        shown = torch.randn(2, 3, 6, 6)
        torch.testing.assert_close(resumed(shown), model(shown), rtol=0, atol=0)
        del shown


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
    resumed = ResumedModel(tied, ("body.head",))
    resumed(shown)
    next(model.get_submodule("head").parameters()).mul_(2.0)
    torch.testing.assert_close(resumed(shown), tied(shown), rtol=0, atol=0)


@torch.no_grad()
def test_a_pass_that_fails_is_begun_anew(model: nn.Module) -> None:
    resumed = ResumedModel(model, ("head",))
    with pytest.raises(RuntimeError):
        resumed(torch.randn(2, 5, 6, 6))
    shown = images()
    torch.testing.assert_close(resumed(shown), model(shown), rtol=0, atol=0)


@torch.no_grad()
def test_no_more_is_kept_than_the_limit_and_what_is_not_is_run_again(model: nn.Module) -> None:
    one = images()[:1].clone()
    maps = 3 * 8 * 6 * 6 * 4  # what `first` and `inner` wrote, a copy of it, and a mean
    resumed = ResumedModel(model, ("last",), limit=maps)
    ran = []
    for inputs in (one, one, two := images()[1:2].clone(), two, one):
        with Counted() as counted:
            torch.testing.assert_close(resumed(inputs), model(inputs), rtol=0, atol=0)
        ran.append(counted.convolutions - 4)  # those of the network itself
    assert ran == [4, 2, 4, 4, 2]
