"""Form: what set a layer's weights are brought to, and as what operators it then runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any

from automl.compression.forms.base import DenseForm, Form, saves_bytes_alone
from automl.compression.forms.registry import FORMS, form_of
from automl.compression.kinds.base import WEIGHTED, LayerKind
from automl.errors import SpaceError, UsageError
from automl.network import Layer, Network
from automl.policy import Bits, is_float
from automl.space import SpaceSettings, Variable

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class FormOption:
    """A form with its parameter.

    Attributes:
        form: Its name.
        parameter: As the form has it: a rank, a number of taps.
    """

    form: str
    parameter: Any


class FormKind(LayerKind[FormOption]):
    """Which form a layer takes, of those that are open, if any.

    A form that ranks channels keeps its own number of them where the layer's are cut, as far as
    the layer still has so many.
    """

    name = "form"
    lowers_arrays = True

    def variables(self, network: Network, settings: SpaceSettings) -> Sequence[Variable]:
        """One a layer with weights that can take any of the open forms, in network order."""
        opened = [form_of(name) for name in _opened(settings)]
        found = list[Variable]()
        layers = {plan.layer.name: plan.layer for plan in network.plans}
        for layer in layers.values() if opened else ():
            options = _options(opened, layer) if layer.op in WEIGHTED else []
            refused = settings.refused.get(layer.name, ())
            options = [each for each in options if each not in refused]
            if settings.offered is not None and options:
                ways = [self.lower(each, layer) for each in options]
                options = [*compress(options, settings.offered(layer, ways))]
            if options:
                options.sort(key=partial(self._work, layer))
                found.append(Variable(self.name, layer.name, (*options, None)))
        return found

    def forms(self, layer: Layer) -> Sequence[FormOption]:
        """What all forms make of a layer."""
        return _options([form_of(name) for name in FORMS.names()], layer)

    def operators(self, form: FormOption, layer: Layer) -> tuple[Layer, ...]:
        """As the form lowers the layer.

        Raises:
            SpaceError: It cannot take the form; names it.
        """
        made = form_of(form.form)
        if layer.op not in made.ops:
            raise SpaceError(f"{layer.name!r} cannot take {self.write(form)}: it is a {layer.op}")
        return made.lower(form.parameter, layer)

    def _work(self, layer: Layer, form: FormOption) -> tuple[int, float]:
        """Multiplications, then bytes."""
        macs = sum(each.macs for each in self.lower(form, layer))
        return macs, float(self.bytes(form, layer, Bits()))

    def takes_bits(self, option: FormOption | None, bits: Bits) -> bool:
        """Not where the layer's own numbers are what is chosen: rounded, they would be others.

        Zeros stay zero as integers, but not among shared values.
        """
        if option is None:
            return True
        form = form_of(option.form)
        alone = isinstance(form, DenseForm) and is_float(bits)
        return form.takes_bits and not alone

    def kernel(self, option: FormOption | None, operator: Layer) -> Any:
        """As the form says it."""
        return "" if option is None else form_of(option.form).kernel_of(operator)

    def bytes(self, option: FormOption | None, layer: Layer, bits: Bits) -> Any:
        """As the form says it."""
        if option is None:
            return super().bytes(option, layer, bits)
        return form_of(option.form).bytes(option.parameter, layer, bits)

    def refusal(self, option: FormOption | None, module: nn.Module) -> str:
        """As the form says it."""
        from automl.compression.forms.building import layer_of

        if option is None:
            return ""
        layer = layer_of(module)
        if layer is None:
            return f"it is a {type(module).__name__}"
        return form_of(option.form).refusal(option.parameter, layer)

    def fit(self, form: FormOption, module: nn.Module, moments: Tensor | None) -> Tensor:
        """The nearest member, in the metric of what the layer reads where that is known."""
        from automl.compression.forms.building import fitted

        return fitted(form_of(form.form), form.parameter, module, moments)

    def replacement(self, form: FormOption, module: nn.Module) -> nn.Module:
        """As the form builds it: plain convolutions, or the layer with another matrix."""
        from automl.compression.forms.building import built

        return built(form_of(form.form), form.parameter, module)

    def outline(self, option: FormOption | None, module: nn.Module) -> nn.Module:
        """As `build`, with nothing fitted."""
        from automl.compression.forms.building import outline

        return module if option is None else outline(form_of(option.form), option.parameter, module)

    def write(self, form: FormOption) -> str:
        """As "rank-spatial:16"; the name alone where there is no parameter to say: "2:4"."""
        parameter = form_of(form.form).write(form.parameter)
        return f"{form.form}:{parameter}" if parameter else form.form

    def read(self, text: str) -> FormOption:
        """As "rank-spatial:16" or "2:4"."""
        named = (name for name in FORMS.names() if f"{text}:".startswith(f"{name}:"))
        name = max(named, key=len, default=text.partition(":")[0])
        parameter = text[len(name) + 1 :]
        try:
            form = form_of(name)
        except UsageError as problem:
            raise ValueError(str(problem)) from None
        return FormOption(form.name, form.read(parameter))


def _options(forms: Sequence[Form[Any]], layer: Layer) -> list[FormOption]:
    """What some forms make of a layer."""
    return [
        FormOption(form.name, parameter)
        for form in forms
        if layer.op in form.ops and not form.refusal(None, layer)
        for parameter in form.parameters(layer)
    ]


def _opened(settings: SpaceSettings) -> Sequence[str]:
    """Names of the forms that are open.

    Where the kind is asked for by its own name: all that plain operators of every table run.
    """
    if settings.forms or FormKind.name not in settings.kinds:
        return settings.forms
    known = {name: form_of(name) for name in FORMS.names()}
    return [name for name, form in known.items() if not (form.kernel or saves_bytes_alone(form))]
