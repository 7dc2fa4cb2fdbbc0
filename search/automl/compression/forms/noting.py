"""Forms that layers of a made network have, noted on their modules: a network says what it is."""

from __future__ import annotations

from typing import Any, Final

from torch import nn

from automl.compression.forms.base import DenseForm, Form
from automl.compression.forms.registry import form_of

#: Attribute of a module: name of its form, and its parameter as policies write it.
_NOTE: Final = "_dense_form"


def noted(form: Form[Any], parameter: Any, module: nn.Module) -> nn.Module:
    """The module, on which stands what set its numbers are in.

    Forms that run as other operators are left out: their modules have weights of their own.
    """
    if isinstance(form, DenseForm):
        setattr(module, _NOTE, (form.name, form.write(parameter)))
    return module


def noted_forms(model: nn.Module) -> dict[str, tuple[DenseForm[Any], Any]]:
    """Layers whose numbers are in a set, by name: the form, and its parameter.

    Args:
        model: Made of a policy, or a copy of such; what was loaded from weights alone has no notes.
    """
    found: dict[str, tuple[DenseForm[Any], Any]] = {}
    for name, module in model.named_modules():
        kind, parameter = getattr(module, _NOTE, ("", ""))
        form = form_of(kind) if kind else None
        if isinstance(form, DenseForm):
            found[name] = (form, form.read(parameter))
    return found
