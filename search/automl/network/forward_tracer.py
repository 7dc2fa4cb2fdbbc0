"""Tracing a model: every operation of one forward pass, in order, with an address that stays.

The address of an operation is the module it runs in and its position among that module's own
operations, so it is the same in the dense and in the compressed network, whatever was left out
elsewhere. Parametrised layers are one operation each; what they do inside is not visited.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from automl.network.carried import Summed
from automl.network.own_forward import OwnForward

Address = tuple[str, int]

#: Layers that are visited whole. A subclass with a forward of its own is not one of them.
_LEAVES: dict[type[nn.Module], str] = {
    nn.Conv1d: "conv",
    nn.Conv2d: "conv",
    nn.Conv3d: "conv",
    nn.ConvTranspose1d: "conv_transpose",
    nn.ConvTranspose2d: "conv_transpose",
    nn.ConvTranspose3d: "conv_transpose",
    nn.Linear: "linear",
    nn.BatchNorm1d: "batch_norm",
    nn.BatchNorm2d: "batch_norm",
    nn.BatchNorm3d: "batch_norm",
    nn.SyncBatchNorm: "batch_norm",
    nn.InstanceNorm1d: "instance_norm",
    nn.InstanceNorm2d: "instance_norm",
    nn.InstanceNorm3d: "instance_norm",
    nn.GroupNorm: "group_norm",
    nn.LayerNorm: "layer_norm",
    nn.RMSNorm: "rms_norm",
    nn.PReLU: "prelu",
    nn.LSTM: "lstm",
    nn.GRU: "gru",
    nn.RNN: "rnn",
}


#: What a layer whose class overrides forward must call inside it to be known as that layer.
_CALLS = {
    "conv": ("convolution",),
    "conv_transpose": ("convolution",),
    "batch_norm": ("native_batch_norm", "_native_batch_norm_legit_no_training"),
    "group_norm": ("native_group_norm",),
    "layer_norm": ("native_layer_norm",),
}


def base_kind(module: nn.Module) -> str:
    """What a layer or a class derived from one is ("conv", ...), or "" for any other module."""
    return next((name for kind, name in _LEAVES.items() if isinstance(module, kind)), "")


def leaf_kind(module: nn.Module) -> str:
    """What a parametrised layer is ("conv", "linear", ...), or "" for any other module.

    An `OwnForward` layer is one while it runs itself, not while what is around it runs, and not
    where another module runs in its place.
    """
    if isinstance(module, OwnForward):
        return base_kind(module) if module.inside and not module.replaced else ""
    for kind, name in _LEAVES.items():
        if isinstance(module, kind):
            own = "forward" in vars(module) or hasattr(module, "parametrizations")
            if own or not _inherits(type(module), kind):
                return ""
            alone = name == "batch_norm" and getattr(module, "running_mean", None) is None
            return "instance_norm" if alone else name  # its statistics are those of what it reads
    return ""


def _inherits(derived: type[nn.Module], kind: type[nn.Module]) -> bool:
    """Whether a class computes what the layer does that it is derived from."""
    steps = ("forward", "_conv_forward")
    return all(getattr(derived, step, None) is getattr(kind, step, None) for step in steps)


def layer_called(module: Any, func: Any, args: tuple[Any, ...]) -> str:
    """What layer an operation inside a module's own forward is ("conv", ...), or "".

    A class derived from a layer may pad first or activate afterwards; in between it must call
    the layer's operation with just the module's weights and geometry.
    """
    kind = base_kind(module)
    if func.overloadpacket.__name__ not in _CALLS.get(kind, ()):
        return ""
    if hasattr(module, "parametrizations"):
        return ""
    first = _weight_at(kind)
    if args[first] is not module.weight or args[first + 1] is not module.bias:
        return ""
    if kind == "layer_norm":
        return kind if tuple(args[1]) == tuple(module.normalized_shape) else ""
    if kind == "group_norm":
        return kind if args[6] == module.num_groups else ""
    if kind == "batch_norm":
        return kind if args[3] is module.running_mean else ""
    called = (*map(tuple, args[3:6]), args[6], args[8])
    transposed = kind == "conv_transpose"
    geometry = map(tuple, (module.stride, module.padding, module.dilation))
    return kind if called == (*geometry, transposed, module.groups) else ""


def _only_strides(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation only notes other strides along extents of one: torch's own poolings do.

    They do it where channels lie last, so that what they write counts as lying so too.
    """
    if func.overloadpacket.__name__ != "as_strided_" or len(args) != 3:
        return False
    values, shape, strides = args
    rows = zip(values.shape, values.stride(), strides, strict=False)
    return tuple(shape) == values.shape and all(
        extent == 1 or old == new for extent, old, new in rows
    )


def _weight_at(kind: str) -> int:
    """Where the weight stands among the arguments of a layer's operation; the bias follows it."""
    return 2 if kind == "layer_norm" else 1


@dataclass(frozen=True, slots=True)
class LeafCall:
    """One operation of the traced pass.

    Attributes:
        address: Where it is.
        op: "conv", "linear", ... for a layer; the ATen name without overload ("relu") elsewhere.
        module: Dotted name of the layer, or "".
        scope: Names of the enclosing modules, outermost first.
    """

    address: Address
    op: str
    module: str
    scope: tuple[str, ...]


class ForwardTracer(TorchDispatchMode):
    """Calls `given`, `before` and `after` around the operations of the forward passes inside it.

    Subclasses override these methods. They run with the tracer suspended. `after` may change an
    operation's output in place.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._model = model
        self._modules = dict(model.named_modules())
        self._names = {module: name for name, module in self._modules.items()}
        self._scope: list[str] = []
        self._counts: Counter[str] = Counter()
        self._suspended = 0
        #: Of modules whose kind does not change while they run, as long as hooks are on.
        self._kinds: dict[nn.Module, str] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and torch's compiler takes over a second to import

    def given(
        self, step: LeafCall, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What an operation runs on, from what it was given; called before it runs.

        Of a layer visited inside its own class's forward (`layer_called`) only the input is given.
        """
        return args, kwargs

    def before(self, step: LeafCall, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Called before a parametrised layer runs, with what it runs on."""

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        """Called after an operation; `func` is the ATen operator, or the layer's module."""

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an ATen operator, those inside layers too, and give what it wrote."""
        return func(*args, **kwargs)

    def start(self) -> None:
        """A forward pass begins: to be called before each but the first after `attached`."""
        self._counts.clear()
        self._scope.clear()
        self._suspended = 0

    def enter(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Called when a module that is not a layer is entered."""

    def leave(self, name: str, output: Any) -> None:
        """Called when a module that is not a layer is left."""

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The context to run forward passes in: hooks on, no gradients, the tracer active.

        torch's fused attention is switched off meanwhile, for inside it nothing can be seen.
        """
        handles = []
        self.start()
        plain = (each for each in self._names if not isinstance(each, OwnForward))
        self._kinds = {module: leaf_kind(module) for module in plain}
        fused = torch.backends.mha.get_fastpath_enabled()
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            for module in self._names:
                handles.append(module.register_forward_pre_hook(self._pre, with_kwargs=True))
                handles.append(module.register_forward_hook(self._post, with_kwargs=True))
            with torch.no_grad(), self:
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._suspended or not self._scope or _only_strides(func, args):
            return self.run(func, args, kwargs)
        scope, name = tuple(self._scope), self._scope[-1]
        module: Any = self._modules[name]
        kind = layer_called(module, func, args)
        if not kind:
            step = LeafCall(self._address(name), func.overloadpacket.__name__, "", scope)
            args, kwargs = self._quietly(self.given, step, args, kwargs)
            output = self.run(func, args, kwargs)
            self._quietly(self.after, step, func, args, kwargs, output)
            return output
        step = LeafCall(self._address(name), kind, name, scope[:-1])
        inputs, _ = self._quietly(self.given, step, args[:1], {})
        self._quietly(self.before, step, module, inputs)
        first = _weight_at(kind)
        weights = (module.weight, module.bias)
        output = self.run(func, (*inputs, *args[1:first], *weights, *args[first + 2 :]), kwargs)
        written = output[0] if isinstance(output, tuple) else output
        self._quietly(self.after, step, module, inputs, {}, written)
        return output

    def _address(self, name: str) -> Address:
        self._counts[name] += 1
        return name, self._counts[name] - 1

    def _kind(self, module: nn.Module) -> str:
        """As `leaf_kind`, which would be asked again and again."""
        found = self._kinds.get(module)
        return leaf_kind(module) if found is None else found

    def _quietly(self, call: Any, *args: Any) -> Any:
        self._suspended += 1
        try:
            with no_dispatch():  # what is computed meanwhile need not come by here
                return call(*args)
        finally:
            self._suspended -= 1

    def _pre(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._suspended:
            self._suspended += 1
            return None
        name, kind = self._names[module], self._kind(module)
        if not kind:
            self._quietly(self.enter, name, args, kwargs)
            self._scope.append(name)
            return None
        step = LeafCall((name, self._counts[name]), kind, name, tuple(self._scope))
        args, kwargs = self._quietly(self.given, step, args, kwargs)
        self._quietly(self.before, step, module, args or tuple(kwargs.values()))
        self._suspended += 1
        return args, kwargs

    def _post(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        name, kind = self._names[module], self._kind(module)
        output = output.value if isinstance(output, Summed) else output
        if self._suspended:
            self._suspended -= 1
            if self._suspended or not kind:
                return
            step = LeafCall(self._address(name), kind, name, tuple(self._scope))
            inputs = args or tuple(kwargs.values())
            self._quietly(self.after, step, module, inputs, {}, output)
            return
        self._scope.pop()
        self._quietly(self.leave, name, output)
