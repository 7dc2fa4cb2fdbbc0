"""Names of what stands for a finished network."""

from __future__ import annotations

import pytest

from automl.errors import UsageError
from automl.options.proxies import PROXIES, check_proxy


@pytest.mark.parametrize("name", PROXIES)
def test_a_name_is_kept(name: str) -> None:
    assert check_proxy(name) == name


@pytest.mark.parametrize(("value", "said"), [("refits", "did you mean refit"), (3, "found 3")])
def test_another_is_answered_with_what_would_do(value: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_proxy(value)
