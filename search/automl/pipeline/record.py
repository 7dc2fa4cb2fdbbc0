"""What a run folder keeps for its report, beside the log, the policy and the front.

`run.json` is written where a study begins: what is searched, by what, and what each choice does
alone. `outcome.json` is written at the end: what was found, layer by layer. docs/report.md
describes both.
"""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any, Final

import automl
from automl.cost import LayerTime, merged_away, time_layers, with_bits_that_run
from automl.errors import StudyError
from automl.files import write_whole
from automl.network import Layer, LayerPlan, Network, units_of
from automl.options import options_of, values_of
from automl.pipeline.context import SearchContext
from automl.pipeline.precision import precisions_of
from automl.pipeline.pricing import PricedNetwork, search_pricer
from automl.pipeline.requests import SearchRequest, SearchResult
from automl.policy import Policy
from automl.profiling import working_versions
from automl.space import Variable, alternatives_of, kind_of
from automl.study import Problem, StudySettings, without_password

#: In the run folder.
START: Final = "run.json"
OUTCOME: Final = "outcome.json"
SCHEMA: Final = 1


def write_start(
    context: SearchContext, problem: Problem, settings: StudySettings, request: SearchRequest
) -> None:
    """Write what is searched.

    Raises:
        StudyError: The file cannot be written.
    """
    network, sensitivity = context.network, context.sensitivity
    _write(
        request.out / START,
        {
            **_subject(network, request),
            "budget_held": str(problem.budget),
            "limits": {each.quantity: each.value for each in problem.budget.limits},
            "score": {"name": request.task.score_name, "ranked_by": settings.score_name},
            "weights_digest": settings.weights,
            "data_digest": settings.data,
            "compression": settings.compression,
            "variables": [_variable(each) for each in problem.space.variables],
            "sensitivity": {
                "images": sensitivity.images,
                "single": [_numbers(each.tolist()) for each in sensitivity.single],
            },
        },
    )


def write_outcome(
    result: SearchResult, network: PricedNetwork, policy: Policy, request: SearchRequest
) -> None:
    """Write what was found; what was searched as well, where no study said it.

    Raises:
        StudyError: A file cannot be written.
    """
    if not (request.out / START).exists():
        _write(request.out / START, _subject(network, request))
    dense = Policy()
    _write(
        request.out / OUTCOME,
        {
            "schema_version": SCHEMA,
            "dense": asdict(result.dense),
            "compressed": asdict(result.compressed),
            "trials": result.trials,
            "scored_on": result.scored_on,
            "images": request.task.judged_on.images,
            "interrupted": result.interrupted,
            "notes": list(result.notes),
            "stages": [asdict(each) for each in result.stages],
            "finished": _now(),
            "layers": _layers(network.traced.network, policy),
            "times": {
                "dense": _times(network, dense, request),
                "compressed": _times(network, policy, request),
            },
        },
    )


def command_line(words: Sequence[str]) -> str:
    """What was typed, for the shell, without passwords."""
    program = Path(words[0] if words else "").name
    ours = program in ("automl", "__main__.py")
    shown = [without_password(word) if "://" in word else word for word in words[1:]]
    return shlex.join(["automl" if ours else program, *shown])


def _subject(network: PricedNetwork, request: SearchRequest) -> dict[str, Any]:
    """What is searched, and by what."""
    traced, header, data = network.traced.network, network.table.header, request.task.data
    left_alone = [{"name": each.name, "reason": each.reason} for each in traced.unprunable]
    return {
        "schema_version": SCHEMA,
        "automl": automl.__version__,
        "command": command_line(sys.argv),
        "began": _now(),
        "versions": _versions(),
        "options": _given(request),
        "model": {
            "name": request.task.model_name,
            "fingerprint": traced.fingerprint,
            "input_shape": list(traced.input_shape),
        },
        "data": {
            "name": request.task.data_name,
            "calibration": data.calibration.images,
            "validation": data.validation.images,
            "test": data.test.images if data.test is not None else None,
        },
        "target": {
            "name": request.target,
            "description": network.description,
            "table_digest": network.table.digest,
            "unit": header.unit,
            "error": network.error,
            "here": network.here,
        },
        "budget": list(request.budget),
        "agent": request.agent,
        "seed": request.seed,
        "left_alone": left_alone,
    }


def _given(request: SearchRequest) -> dict[str, Any]:
    """Options that are not as they usually are."""
    values = values_of(request)
    usual = {each.name: each.default for each in options_of(type(request))}
    changed = {
        name: value
        for name, value in values.items()
        if usual[name] is MISSING or value != usual[name]
    }
    if changed.get("storage"):
        changed["storage"] = without_password(str(changed["storage"]))
    return {
        name: list(value) if isinstance(value, tuple) else _plain(value)
        for name, value in changed.items()
    }


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _versions() -> dict[str, str]:
    own = {"automl": automl.__version__, "python": platform.python_version()}
    return own | working_versions() | {"system": platform.platform()}


def _variable(variable: Variable) -> dict[str, Any]:
    show = kind_of(variable.kind).show
    options = [show(each) for each in variable.options]
    return {"kind": variable.kind, "name": variable.name, "options": options}


def _layers(network: Network, policy: Policy) -> list[dict[str, Any]]:
    """Each layer as it was and as it is, in network order."""
    channels = network.dense_channels | dict(policy.channels)
    sizes = network.resolutions
    size = sizes.index(policy.resolution) if policy.resolution else len(sizes) - 1
    units = {unit.name: unit for unit in units_of(network)}
    others = {
        layer: form for name, form in alternatives_of(policy).items() for layer in units[name].chain
    }
    gone = merged_away(network, policy)
    policy = with_bits_that_run(network, policy)
    forms = kind_of("form").chosen(policy)
    return [
        _layer(plan, plan.at(channels, size), policy, forms.get(plan.layer.name))
        | {"merged": plan.layer.name in gone}
        | ({"form": others[plan.layer.name]} if plan.layer.name in others else {})
        for plan in network.plans
    ]


def _layer(plan: LayerPlan, now: Layer, policy: Policy, form: Any) -> dict[str, Any]:
    layer = plan.layer
    removed = bool(plan.block) and plan.block in policy.removed
    bits = policy.bits.get(plan.owner)
    return {
        "name": layer.name,
        "op": layer.op,
        "block": plan.block,
        "kernel": list(layer.kernel),
        "channels": [layer.out_channels, 0 if removed else now.out_channels],
        "macs": [layer.macs, 0 if removed else now.macs],
        "bits": None if bits is None else [bits.weights, bits.activations],
        "form": "" if form is None else kind_of("form").show(form),
        "removed": removed,
    }


def _times(network: PricedNetwork, policy: Policy, request: SearchRequest) -> dict[str, Any]:
    """Per layer its predicted latency and where that is from; empty where there is none."""
    pricer = search_pricer(network.table, request, here=network.here)
    if pricer is None:
        return {}
    header = network.table.header
    found: Mapping[str, LayerTime] = time_layers(
        network.traced.network, policy, pricer, network.overhead, precisions_of(header)
    )
    return {name: [_number(each.seconds), each.source] for name, each in found.items()}


def _number(value: float | None) -> float | None:
    """To six figures; None where it is not known."""
    return None if value is None or not isfinite(value) else float(f"{value:.6g}")


def _numbers(values: Sequence[float]) -> list[float | None]:
    return [_number(each) for each in values]


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _finite(value: Any) -> Any:
    """The same values, numbers that are not finite as null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _write(path: Path, document: dict[str, Any]) -> None:
    try:
        write_whole(path, json.dumps(_finite(document), allow_nan=False) + "\n")
    except OSError as error:
        raise StudyError(f"{path} cannot be written: {error.strerror}") from error
