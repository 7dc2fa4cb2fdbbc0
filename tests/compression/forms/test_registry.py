"""Every form that is listed is made, and is what it is listed as."""

from __future__ import annotations

import pytest

from automl.compression.forms.base import Form
from automl.compression.forms.registry import FORMS, form_of
from automl.errors import UsageError


@pytest.mark.parametrize("name", FORMS.names())
def test_it_is_made_once_and_goes_by_its_name(name: str) -> None:
    form = form_of(name)
    assert isinstance(form, Form)
    assert form.name == name
    assert form_of(name) is form


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no form 'rank-spacial' .*rank-spatial"):
        form_of("rank-spacial")
