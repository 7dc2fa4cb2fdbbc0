"""How values go past what is left out: through blocks, beside branches, past layers of chains."""

from __future__ import annotations

import copy

import pytest
import torch
from exact import gap, scrambled, some
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.bypass import Bypass, Bypasses, goes_with
from automl.network.recorded import Trace
from automl.network.surgery import mask, smaller
from automl.network.trace import record
from automl.network.traced_model import trace_network

MAPS, TOKENS = (1, 3, 6, 6), (1, 5, 6)


class Mlp(nn.Module):
    """A norm and two linear layers: what transformers add to their stream."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.norm, self.up, self.down = (
            nn.LayerNorm(width),
            nn.Linear(width, 24),
            nn.Linear(24, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(self.norm(x))))


class ThroughTokens(nn.Module):
    """Lays its maps out as tokens, adds to these, and lays them out as maps again."""

    def __init__(self, turned: bool = False) -> None:
        super().__init__()
        self.inner, self.turned = Mlp(), turned

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.inner(tokens)
        tokens = tokens.transpose(1, 2)
        if self.turned:  # height and width change places
            return tokens.reshape(count, channels, width, height).transpose(2, 3)
        return tokens.reshape(count, channels, height, width)


class Parallel(nn.Module):
    """Two branches that read one norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.left, self.right = nn.LayerNorm(16), Mlp(), Mlp()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.left(y) + self.right(y)


class Stream(nn.Module):
    """Adds what its parts give to a stream of its own, in the way of the test."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.stem, self.norm, self.head = nn.Linear(6, 16), nn.LayerNorm(16), nn.Linear(16, 4)
        self.parts = nn.ModuleList(Mlp() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for part in self.parts:
            if self.way == "added":
                x = part(x) + x
            elif self.way == "normed before":
                x = x + part(self.norm(x))
            elif self.way == "in place":
                x = x.clone()
                x += part(x)
            elif self.way == "read twice":
                y = part(x)
                x = x + y * y.mean()
            elif self.way == "of something else":
                x = self.norm(x) + part(x)
        return self.head(x)


def maps_around(*blocks: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 16, 1), *blocks, nn.Conv2d(16, 4, 1)).eval()


def kinds(trace: Trace) -> dict[str, str]:
    names = [*filter(None, trace.modules), *(call.step.module for call in trace.calls)]
    found = {name: Bypasses(trace).of(name) for name in names if name}
    return {name: past.kind for name, past in found.items() if past is not None}


def test_views_there_and_back_are_on_the_way() -> None:
    trace = record(maps_around(ThroughTokens()), torch.randn(MAPS))
    past = Bypasses(trace).of("1")
    assert past is not None
    assert past.kind == "block"
    assert (past.enters, past.leaves) == tuple(value for (value,) in trace.modules["1"])


def test_what_views_leave_elsewhere_does_not_pass() -> None:
    trace = record(maps_around(ThroughTokens(turned=True)), torch.randn(MAPS))
    assert Bypasses(trace).of("1") is None
    assert kinds(trace)["1.inner"] == "branch"


class ThroughWindows(nn.Module):
    """Lays its maps out as windows and back, copied in between as MaxViT does, and adds to them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Mlp()

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        windows = x.reshape(count, channels, height // 2, 2, width // 2, 2)
        windows = windows.permute(0, 2, 4, 3, 5, 1).contiguous()
        tokens = windows.view(-1, 4, channels)
        tokens = tokens + self.inner(tokens)
        windows = tokens.view(count, height // 2, width // 2, 2, 2, channels)
        return windows.permute(0, 5, 1, 3, 2, 4).contiguous().view(count, channels, height, width)


def test_copies_between_views_leave_numbers_where_they_were() -> None:
    trace = record(maps_around(ThroughWindows()), torch.randn(MAPS))
    past = Bypasses(trace).of("1")
    assert past is not None
    assert past.kind == "block"


def test_parallel_branches_make_one_block() -> None:
    model = nn.Sequential(nn.Linear(6, 16), Parallel(), Parallel(), nn.Linear(16, 4)).eval()
    network = trace_network(model, TOKENS).network
    assert [block.name for block in network.blocks] == ["1", "2"]


class Gain(nn.Module):
    """A scale a channel behind what a transformer adds to its stream."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(16))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x


class Encoder(nn.Module):
    """Adds two or three branches one after another, in the way of the test."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.norm, self.first, self.second, self.third = nn.LayerNorm(16), Mlp(), Mlp(), Mlp()
        self.scale, self.scale2 = Gain(), Gain()

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "scaled":
            x = x + self.scale(self.first(self.norm(x)))
            return x + self.scale2(self.second(x))
        x = x + self.first(self.norm(x))
        if self.way == "one":
            return x
        if self.way == "bent":
            return F.gelu(x + self.second(x)) + x
        if self.way == "written out":
            second = self.second
            return x + second.down(F.gelu(second.up(second.norm(x)))) * 0.5
        x = x + self.second(x)
        return x + self.third(x) if self.way == "three" else x


@pytest.mark.parametrize(
    ("way", "parts"),
    [
        ("two", ["first", "second"]),
        ("three", ["first", "second", "third"]),
        ("scaled", ["scale", "scale2"]),
        ("one", [""]),
        ("bent", [""]),
        ("written out", [""]),
    ],
)
def test_a_block_that_adds_one_branch_after_another_goes_by_branches(
    way: str, parts: list[str]
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), Encoder(way), nn.Linear(16, 4)).eval()
    traced = trace_network(model, TOKENS)
    network, x = traced.network, torch.randn(TOKENS)
    assert [block.name for block in network.blocks] == [f"1.{part}".rstrip(".") for part in parts]
    inside = [group for block in network.blocks for group in block.groups]
    assert sorted(inside) == [group.name for group in network.groups if ".up" in group.name]
    whole = smaller(traced.model, network.groups, {}, frozenset(b.name for b in network.blocks))
    torch.testing.assert_close(whole(x), model[2](model[0](x)))
    for block in network.blocks:
        removed = frozenset({block.name})
        small = smaller(traced.model, network.groups, {}, removed)
        hook = model.get_submodule(block.name).register_forward_hook(
            lambda _, given, out, whole=block.name == "1": given[0] if whole else 0 * out
        )
        torch.testing.assert_close(small(x), model(x))
        hook.remove()
        priced = [(layer.op, layer.in_size) for layer in network.shapes({}, removed)]
        again = trace_network(small, TOKENS).network
        assert sorted((layer.op, layer.in_size) for layer in again.layers) == sorted(priced)


@pytest.mark.parametrize("way", ["added", "normed before", "in place"])
def test_a_branch_is_added_outside_it_to_what_it_was_made_from(way: str) -> None:
    torch.manual_seed(0)
    traced = trace_network(Stream(way).eval(), TOKENS)
    network = traced.network
    assert [block.name for block in network.blocks] == ["parts.0", "parts.1"]
    layers = set(network.blocks[0].layers)
    assert {"parts.0.up", "parts.0.down", "parts.0.norm"} < layers
    assert "add_1" in layers or way == "in place"
    small = smaller(traced.model, network.groups, {}, frozenset({"parts.0", "parts.1"}))
    x = torch.randn(TOKENS)
    expected = traced.model.head(traced.model.stem(x))  # type: ignore[operator]
    torch.testing.assert_close(small(x), expected)
    assert not any(name.startswith("parts") for name in small.state_dict())
    again = trace_network(small, TOKENS).network
    assert {layer.name for layer in again.layers} & layers <= {"add_1"}


@pytest.mark.parametrize("way", ["read twice", "of something else"])
def test_other_sums_have_no_branch(way: str) -> None:
    trace = record(Stream(way).eval(), torch.randn(TOKENS))
    assert "branch" not in kinds(trace).values()


def test_what_a_branch_alone_reads_goes_with_it() -> None:
    class Once(Stream):
        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.head(x + self.parts[0](self.norm(x)))

    trace = record(Once("").eval(), torch.randn(TOKENS))
    past = Bypasses(trace).of("parts.0")
    assert past is not None
    gone = [call.step for call in trace.calls if goes_with(call, "parts.0", past)]
    assert [step.op for step in gone if not step.scope[1:]] == ["layer_norm", "add"]


def test_the_whole_of_a_branch_goes_and_not_its_last_part_alone() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(16, 24), nn.Sequential(nn.Linear(24, 16), nn.Tanh())

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.down(F.gelu(self.up(x)))
            return found

    class Outer(Stream):
        def __init__(self) -> None:
            super().__init__("")
            self.parts = nn.ModuleList([Inner(), Inner()])

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for part in self.parts:
                x = x + part(x)
            return self.head(x)

    network = trace_network(Outer().eval(), TOKENS).network
    assert [block.name for block in network.blocks] == ["parts.0", "parts.1"]


class Chain(nn.Module):
    """Convolutions one after another; a shortcut around the second if asked for."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.stem, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.first, self.second = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.kind == "relu":
            return self.head(F.relu(self.second(F.relu(self.first(F.relu(x))))))
        if self.kind == "gelu":
            return self.head(F.gelu(self.second(F.gelu(self.first(x)))))
        if self.kind == "bent late":
            return self.head(F.relu(self.first(x)))
        if self.kind == "pooled":
            return self.head(F.relu(self.first(F.max_pool2d(F.relu(x), 2))))
        y = self.second(F.gelu(self.first(x)))
        return self.head(F.gelu(x * y))


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("relu", ["first", "second"]),
        ("gelu", ["first", "second"]),
        ("bent late", []),
        ("pooled", []),
        ("around", []),
    ],
)
def test_a_layer_of_a_plain_chain_can_go(kind: str, found: list[str]) -> None:
    torch.manual_seed(0)
    shape = (1, 3, 8, 8)
    traced = trace_network(Chain(kind).eval(), shape)
    network = traced.network
    assert [block.name for block in network.blocks] == found
    assert all(block.layers == (block.name,) for block in network.blocks)
    removed = frozenset(found)
    small = smaller(traced.model, network.groups, {}, removed)
    priced = [(layer.op, layer.in_size) for layer in network.shapes({}, removed)]
    again = trace_network(small, shape, resolutions=()).network
    assert [(layer.op, layer.in_size) for layer in again.layers] == priced


def test_the_sides_of_a_layer_that_is_left_out_may_lose_different_channels() -> None:
    torch.manual_seed(0)
    traced = trace_network(Chain("relu").eval(), (1, 3, 8, 8))
    groups, double = traced.network.groups, copy.deepcopy(traced.model).double()
    x = torch.randn(2, 3, 8, 8).double()
    kept = {
        "stem": torch.tensor([0, 1, 4, 6]),
        "first": torch.tensor([1, 2, 4]),
        "second": torch.tensor([0, 1, 2, 7]),
    }
    for parts in ({"stem"}, {"first"}, {"stem", "first"}, {*kept}):
        for removed in (
            frozenset({"first"}),
            frozenset({"second"}),
            frozenset({"first", "second"}),
        ):
            some = {name: kept[name] for name in parts}
            expected = mask(double, groups, some, removed)(x)
            torch.testing.assert_close(
                smaller(double, groups, some, removed)(x), expected, rtol=1e-12, atol=1e-12
            )


class Rep(nn.Module):
    """RepVGG's block: a 3x3 and a 1x1 convolution beside each other, and a norm where it fits."""

    def __init__(self, read: int, write: int, norm: bool = False, ends: str = "relu") -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(read, write, 3, padding=1), nn.Conv2d(read, write, 1)
        self.norm, self.ends = nn.BatchNorm2d(write) if norm else None, ends

    def forward(self, x: Tensor) -> Tensor:
        y = self.wide(x) + self.narrow(x)
        y = y if self.norm is None else y + self.norm(x)
        return F.relu(y) if self.ends == "relu" else y


class RepVGG(nn.Module):
    """A chain of such blocks; the whole of their middle is read twice if asked for."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        ends = "sum" if kind == "bent later" else "relu"
        self.stem, self.head = Rep(3, 8), nn.Conv2d(8, 4, 1)
        self.blocks = nn.Sequential(Rep(8, 8, kind == "norm", ends), Rep(8, 8, kind == "norm"))
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.kind == "around":
            return self.head(torch.cat([x[:, :4], self.blocks(x)[:, :4]], 1))
        if self.kind == "bent later":
            return self.head(F.relu(self.blocks[0](F.gelu(x))))
        return self.head(self.blocks(x))


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("plain", ["blocks.0", "blocks.1"]),
        ("norm", ["blocks.0", "blocks.1"]),
        ("around", []),
        ("bent later", []),
    ],
)
def test_a_module_of_a_plain_chain_can_go(kind: str, found: list[str]) -> None:
    torch.manual_seed(0)
    shape = (1, 3, 8, 8)
    traced = trace_network(scrambled(RepVGG(kind)), shape)
    network = traced.network
    assert [block.name for block in network.blocks] == found
    removed = frozenset(found)
    small = smaller(traced.model, network.groups, {}, removed)
    priced = [(layer.op, layer.in_size) for layer in network.shapes({}, removed)]
    again = trace_network(small, shape, resolutions=()).network
    assert [(layer.op, layer.in_size) for layer in again.layers] == priced
    for seed in range(3):
        for parts in (removed, *(frozenset({name}) for name in found)) if found else ():
            wrong, effect = gap(traced, shape, some(traced, seed, 0.6), parts)
            assert wrong < 1e-12 < 1e-3 < effect


def test_a_layer_that_runs_twice_stays() -> None:
    layer = nn.Conv2d(8, 8, 3, padding=1)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.GELU(), layer, nn.GELU(), layer, nn.Conv2d(8, 4, 1)
    )
    assert not trace_network(model.eval(), MAPS).network.blocks


class Shared(nn.Module):
    """One branch for two streams, under a name for each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 4)
        self.left = self.right = Mlp()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = x[:, :3]
        x = x + self.left(x)
        y = y + self.right(y)
        return self.second(x.mean(1) + y.mean(1))


def test_a_branch_of_two_streams_stays() -> None:
    """Left out under one of its names alone, it would be priced as if it were gone."""
    traced = trace_network(scrambled(Shared()), TOKENS, resolutions=())
    assert [block.name for block in traced.network.blocks] == []


def test_parts_know_their_own_operations() -> None:
    trace = record(maps_around(ThroughTokens()), torch.randn(MAPS))
    past = Bypass("block", 0, 0)
    with_it = {call.step.module for call in trace.calls if goes_with(call, "1", past)}
    assert with_it == {"", "1.inner.norm", "1.inner.up", "1.inner.down"}
