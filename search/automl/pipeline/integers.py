"""Where no file of integers can be made of a network, floats are searched by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from automl.errors import IntegersError
from automl.pipeline.pricing import PricedNetwork
from automl.pipeline.requests import SearchRequest

#: What layers compute in and what is chosen, where nothing was said.
_DEFAULT: Final = ("auto",)


def priced_or_floats(
    price: Callable[[SearchRequest], PricedNetwork], request: SearchRequest
) -> tuple[SearchRequest, PricedNetwork]:
    """A request as it can be searched, and its priced network.

    Where integers are among the choices by default alone, and no file of them can be made, the
    request becomes one of floats, and the network's notes say why.

    Args:
        price: Prices the choices of a request.
        request: As it was given.

    Raises:
        IntegersError: Integers were asked for.
        AutomlError: As `price`.
    """
    try:
        return request, price(request)
    except IntegersError as error:
        asked = (request.precisions, request.choices) != (_DEFAULT, _DEFAULT)
        if asked or request.keep_first_last:
            raise
        floats = replace(request, precisions=("float",))
        network = price(floats)
        note = f"searched in floats: no file of integers can be made: {error.reason}"
        return floats, replace(network, notes=(note, *network.notes))
