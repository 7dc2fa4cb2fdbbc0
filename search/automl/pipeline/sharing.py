"""What several searches share, made once: in one process by keeping it, among processes by files.

A search gives the same result with sharing and without: all that is shared depends on its key
alone.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import torch

from automl import __version__
from automl.compression import FeatureStore, PruningOrder, RemovedBlock, is_per_tensor
from automl.errors import IntegersError, Raised, StudyError, attempt
from automl.files import locked, replacing, write_whole
from automl.network import TracedModel
from automl.options import values_of
from automl.pipeline.context import (
    SENSITIVITY_IMAGES,
    DenseReference,
    Prepared,
    SearchContext,
    check_weights,
    config_of,
    make_context,
    make_reference,
    price_request,
    trace_request,
)
from automl.pipeline.exporting import check_exportable, exported_form
from automl.pipeline.precision import floats_of, scheme_of
from automl.pipeline.pricing import PricedNetwork
from automl.pipeline.proxies import proxied
from automl.pipeline.requests import OnEvent, SearchRequest, Task
from automl.space import Sensitivity
from automl.userdata import data_digest, weights_digest

#: How long one process waits for another that makes what both need.
WAIT_SECONDS: Final = 6 * 3600.0
#: Options that prices do not depend on; of the budget only what it limits. What weights are made by
#: changes no operator.
_UNPRICED: Final = frozenset(
    (
        *("importance", "compensation", "reconstruction", "quantization", "calibration", "score"),
        *("proxy", "recover_in_loop", "supernet"),
        *("budget", "agent", "warm_start", "full_scores", "trials", "time", "out", "storage"),
        *("resume", "workers", "ray", "score_timeout", "memory"),
    )
)
#: Of the files' form.
_VERSION: Final = 2


class Sharing:
    """Makes what searches need, and remembers it.

    What is remembered is of one task, the object that the last request held: another's takes its
    place.

    Args:
        folder: Where what is costly is kept for other processes; None for this process alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._traced: dict[object, TracedModel] = {}
        self._networks: dict[object, PricedNetwork] = {}
        self._contexts: dict[object, SearchContext] = {}
        self._features: dict[object, FeatureStore] = {}
        self._references: dict[object, DenseReference] = {}
        #: In which floats and integers a traced model was exported without a fault.
        self._exported: set[object] = set()
        #: In which no file of integers could be made, and why.
        self._refused: dict[object, IntegersError] = {}
        self._task: Task | None = None

    def price(self, request: SearchRequest, on_event: OnEvent) -> PricedNetwork:
        """The request's model with the prices of its choices, as `price_request` makes it.

        Raises:
            AutomlError: As `price_request`.
        """
        self._turn_to(request.task)
        traced_key = (request.resolutions, request.seed)
        form = (traced_key, exported_form(request))
        if form in self._refused:
            raise self._refused[form]
        try:
            if traced_key not in self._traced:
                self._traced[traced_key] = trace_request(request)
            elif form not in self._exported:
                check_exportable(self._traced[traced_key], request.task, request)
        except IntegersError as error:
            self._refused[form] = error
            raise
        self._exported.add(form)
        priced = {name: v for name, v in values_of(request).items() if name not in _UNPRICED}
        key = (traced_key, repr(sorted(priced.items())), tuple(sorted(request.limited)))
        if key in self._networks:
            check_weights(request, self._traced[traced_key])
        else:
            self._networks[key] = self._priced(request, traced_key, str(key), on_event)
        return self._networks[key]

    def _priced(
        self, request: SearchRequest, traced_key: object, key: str, on_event: OnEvent
    ) -> PricedNetwork:
        """What is fitted on this machine is fitted once for all processes, and kept in the run."""
        traced = self._traced[traced_key]
        own = request.out / "overhead.json"
        if self._folder is None or own.exists():
            return price_request(request, on_event, traced=traced)
        shape = str(traced.network.input_shape)
        named = _digest(traced.network.fingerprint, shape, socket.gethostname(), key)
        kept = self._folder / f"overhead-{named}.json"
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(kept, WAIT_SECONDS):
            network = price_request(request, on_event, traced=traced, keep=kept)
        if kept.exists():
            write_whole(own, kept.read_bytes())
        return network

    def context(
        self, network: PricedNetwork, request: SearchRequest, on_event: OnEvent
    ) -> SearchContext:
        """Everything that the search needs but its budget, as `make_context` makes it.

        Raises:
            AutomlError: As `make_context`.
            LockedError: Another process has been making it for hours.
            StudyError: A file of the folder that cannot be read.
        """
        self._turn_to(request.task)
        images_key = (request.resolutions, request.seed, str(config_of(request)))
        header = network.table.header
        key = (
            *(images_key, network.space.digest, scheme_of(header), floats_of(header)),
            proxied(request),
        )
        if key not in self._contexts:
            self._contexts[key] = self._made(network, request, on_event, images_key)
        return replace(self._contexts[key], network=network, shared=True)

    def _made(
        self,
        network: PricedNetwork,
        request: SearchRequest,
        on_event: OnEvent,
        images_key: object,
    ) -> SearchContext:
        features_key = (images_key, is_per_tensor(scheme_of(network.table.header)))
        if features_key not in self._features:
            self._features[features_key] = FeatureStore()
        half = floats_of(network.table.header) == "fp16"
        reference_key = (images_key, half)
        if reference_key not in self._references:
            found = make_reference(network.traced, request, half=half)
            self._references[reference_key] = found
        kept: Any = {
            "features": self._features[features_key],
            "reference": self._references[reference_key],
        }
        if self._folder is None:
            return make_context(network, request, on_event, **kept)
        path = self._folder / f"prepared-{prepared_key(network, request)}.pt"
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(path, WAIT_SECONDS):
            prepared = read_prepared(path) if path.exists() else None
            if prepared is None:
                context = make_context(network, request, on_event, **kept)
                write_prepared(Prepared(context.compressor.orders, context.sensitivity), path)
                return context
        return make_context(network, request, on_event, prepared=prepared, **kept)

    def _turn_to(self, task: Task) -> None:
        if task is not self._task:
            self._task = task
            self._traced.clear()
            self._exported.clear()
            self._refused.clear()
            self._networks.clear()
            self._contexts.clear()
            self._features.clear()
            self._references.clear()


def prepared_key(network: PricedNetwork, request: SearchRequest) -> str:
    """What a `Prepared` depends on: weights, data, shape, choices, options and our own version."""
    return _digest(
        f"{__version__} {_VERSION} {SENSITIVITY_IMAGES}",
        weights_digest(request.task.model),
        data_digest(request.task.data),
        network.traced.network.fingerprint,
        str(network.traced.network.input_shape),
        network.space.digest,
        str(scheme_of(network.table.header)),
        repr(sorted(asdict(config_of(request)).items())),
    )


def write_prepared(prepared: Prepared, path: Path) -> None:
    """Write it whole or not at all, as tensors that `weights_only` reads.

    Raises:
        OSError: The file cannot be written.
    """
    found: dict[str, Any] = {
        "orders": {
            name: {
                "order": list(each.order),
                "removed": [
                    [(block.gone, block.rows) for block in blocks] for blocks in each.removed
                ],
                "error": dict(each.error),
            }
            for name, each in prepared.orders.items()
        },
        "single": [torch.from_numpy(row) for row in prepared.sensitivity.single],
        "images": prepared.sensitivity.images,
        "pairwise": [
            (list(some), torch.from_numpy(values)) for some, values in prepared.sensitivity.pairwise
        ],
    }
    with replacing(path) as temporary:
        torch.save(found, temporary)


def read_prepared(path: Path) -> Prepared:
    """Read what `write_prepared` wrote.

    Raises:
        StudyError: It cannot be read.
    """

    def read() -> Prepared:
        found = torch.load(path, map_location="cpu", weights_only=True)
        orders = {
            name: PruningOrder(tuple(each["order"]), _removed(each["removed"]), each["error"])
            for name, each in found["orders"].items()
        }
        pairwise = tuple((tuple(some), values.numpy()) for some, values in found["pairwise"])
        single = tuple(row.numpy() for row in found["single"])
        return Prepared(orders, Sensitivity(single, found["images"], pairwise))

    answer = attempt(read)
    if isinstance(answer, Raised):
        raise StudyError(f"{path}: {answer}; delete it to make it anew") from answer.error
    return answer


def _removed(readers: Sequence[Any]) -> tuple[tuple[RemovedBlock, ...], ...]:
    return tuple(tuple(RemovedBlock(*block) for block in blocks) for blocks in readers)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
