"""Hardware-aware compression search: the most accurate compressed model that meets a budget.

    import automl

    result = automl.search(model, (training, validation), target="cpu", budget="50%")
    result.model  # the compressed model, ready to run; its files are in result.out

What there is (docs/python.md has an example of each):

    search, search_front      one search, or one a budget
    apply, verify             make a policy's model again; measure it beside the dense one
    profile                   measure a device's operators into a table
    prepare, search_problem   a search with a score of your own for each policy
    list_targets              devices that can be searched for
    list_methods              all that is chosen by name: list_methods("agents")
    write_report              one page of what searches did
    read_policy               a policy file, which runs no code
    SearchOptions             every option, which `search` takes as arguments

    SearchResult, ApplyResult, VerifyResult, ProfileResult, StudyResult    what they answer
    Policy, PolicyFile, Metrics, Event, Preparation, Problem               what these hold
    Trial: one of Completed, Infeasible, Failed                            what came of a policy
    AutomlError               root of all errors; its leaves beside it say what is wrong

Importing this package loads neither torch nor optuna: names are found when they are used.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.2.0"

__getattr__, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [*_names, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __dir__() -> list[str]:
    return sorted(__all__)
