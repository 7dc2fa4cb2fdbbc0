"""Every option of a search, once: the command's flags, automl.toml's keys, Python's arguments.

A field made with `option` is a flag of the command, a key of automl.toml and an argument of
`automl.search`, under one name.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

from automl.errors import OptionError
from automl.options.choices import Opened, opened_by
from automl.options.declare import Options, option
from automl.options.kinds import (
    BUDGET,
    BYTES,
    CHOICES,
    DURATION,
    EXAMPLE,
    FOLDER,
    GRANULARITY,
    INPUT_SHAPE,
    PATH,
    PRECISIONS,
    PROXY,
    RECOVERY,
    RECOVERY_STEPS,
    RESOLUTIONS,
    SEED,
    SUPERNET,
    SWITCH,
    method,
    method_with_options,
    methods,
    recovery_of,
    text,
    texts,
    whole,
)
from automl.options.proxies import REFIT
from automl.options.recovering import AskedRecovery
from automl.units import Quantity, parse_budget

#: Calibration inputs where no number is asked for.
CALIBRATION: Final = 2000
#: Bytes that a search may hold where no limit is asked for.
MEMORY: Final = 2_000_000_000
#: How long a candidate may take where nothing else is asked for.
SCORE_SECONDS: Final = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions(Options):
    """What is compressed, where it is named and not given as objects. Paths start at the folder."""

    model: str | None = option(
        text("FILE.py:NAME"),
        None,
        help="Factory of your model, or module:NAME; with arguments \"module:NAME('a', size=2)\".",
    )
    example: str | None = option(
        EXAMPLE,
        None,
        help="An embedded example in place of a model: classifier or denoiser.",
        shown="the first that does not meet the budget as it is",
    )
    weights: Path | None = option(PATH, None, help="State dict of the model.")
    data: str | None = option(
        text("FILE.py:NAME"),
        None,
        help="Function that returns (training, validation[, test]) batches; or folder:PATH?size=224"
        " of pictures, or FILE.npz of arrays.",
    )
    score: str | None = option(
        text("FILE.py:NAME"),
        None,
        help="Function (model, batches) -> number that should grow; or logits, or psnr for"
        " pictures.",
        shown="top-1 accuracy; logits where there are no classes",
    )
    input_shape: tuple[int, ...] | None = option(
        INPUT_SHAPE,
        None,
        help="One input as the device will see it; networks that take any size may be scored on"
        " smaller ones.",
        shown="the data's",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceOptions(Options):
    """What may be chosen from, and how its operators are measured."""

    seed: int = option(SEED, 0, help="Of everything random.")
    round_to: int | None = option(
        GRANULARITY,
        None,
        help="Channel granularity; auto learns it from prices.",
        unit="channels",
        shown="auto",
    )
    depth: bool = option(SWITCH, True, help="Whether blocks may be left out.")
    resolutions: tuple[int, ...] | None = option(
        RESOLUTIONS,
        None,
        help="Input sizes to choose from.",
        unit="pixels",
        shown="auto",
    )
    precisions: tuple[str, ...] = option(
        PRECISIONS,
        ("float",),
        help="What layers compute in: int8,fp16,w4a6; w4 or w2-w6 for weights alone.",
    )
    threads: int = option(whole(1), 1, help="Threads that operators are measured with.")
    ssh: tuple[str, ...] = option(
        texts("USER@HOST[:PORT]"),
        (),
        help="Board to measure; repeatable, for boards of one kind that share the work.",
    )
    python: str = option(text("FILE"), "python3", help="The boards' Python that has the runtime.")
    answer_timeout: float | None = option(
        DURATION,
        None,
        help="Most time that what measures may be silent; then the run ends.",
        unit="seconds",
        shown="2min to start, 5min a model, 30min with TensorRT",
    )

    def check_together(self) -> None:
        """Refuse a board's interpreter without a board."""
        if self.python != "python3" and not self.ssh:
            raise OptionError(
                "python", "is the boards' interpreter, and there are none", options=("ssh",)
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions(SpaceOptions):
    """One search, or several that differ in their budget."""

    target: str = option(text("NAME"), help="Device, or path of a table.")
    budget: tuple[str, ...] = option(
        BUDGET,
        help="10ms, 50%, 60MMACs, 50%MACs, 4MB, 50%size; repeatable; 2ms,4ms searches both.",
    )
    precisions: tuple[str, ...] = option(
        PRECISIONS,
        ("auto",),
        help="What layers compute in: auto is what the target has, or float, or int8,fp16,w4a6;"
        " w4 or w2-w6 for weights alone.",
    )
    choices: tuple[str, ...] = option(
        CHOICES,
        ("auto",),
        help="What may be chosen: channels,blocks,bits,resolution; merge for layers that become"
        " one; fire,separable-relu,half-width,se-gone for what is distilled to take the place of"
        " convolutions (see automl methods blocks); and forms of layers: forms for those that pay"
        " on the target, or rank,taps,separable (see automl methods forms). auto is all but merge"
        " and what is distilled, with forms only where MACs alone are"
        " limited.",
    )
    agent: str = option(method("agents"), "lagrangian", help="Who searches: see automl agents.")
    warm_start: bool = option(
        SWITCH,
        True,
        help="Whether an agent that learns starts from the additive optimum.",
    )
    full_scores: bool = option(SWITCH, False, help="Give up no candidate before it saw all inputs.")
    proxy: str = option(
        PROXY,
        REFIT,
        help="What candidates are ranked as: refit (quickly finished) or adaptive-bn (raw L1"
        " filters, batch norms re-estimated: EagleEye).",
    )
    recover_in_loop: str | None = option(
        RECOVERY_STEPS,
        None,
        help="Train each candidate before it is scored: kd:20steps; see automl methods terms.",
        shown="no training",
    )
    supernet: str | None = option(
        SUPERNET,
        None,
        help="Rank candidates as slices of one network that is trained for so long first (sandwich"
        " rule); kept in the run folder.",
        shown="none",
    )
    trials: int | None = option(
        whole(1),
        None,
        help="Most policies to score.",
        shown="the agent's own number; with a time, none",
    )
    time: float | None = option(DURATION, None, help="Most time to search.", unit="seconds")
    out: Path | None = option(FOLDER, None, help="Run folder.", shown="runs/NAME")
    storage: str | None = option(
        text("URL"),
        None,
        help="Where trials are stored: sqlite:///FILE, journal:///FILE, postgresql://USER@HOST/DB.",
        shown="study.db in the run folder",
    )
    resume: bool = option(SWITCH, False, help="Go on with the run in the run folder.")
    tensorboard: bool = option(
        SWITCH,
        False,
        help="Write scalars of trials and trainings for TensorBoard into the run folder.",
    )
    importance: str = option(
        method_with_options("importances"), "obs", help="What ranks channels: see automl methods."
    )
    compensation: bool = option(
        SWITCH, True, help="Whether the weights that stay make up for channels as they go."
    )
    reconstruction: str = option(
        method_with_options("reconstructions"),
        "least-squares",
        help="What finishes a compressed network's weights.",
    )
    quantization: str = option(
        method_with_options("quantizers"), "second-order", help="What rounds weights."
    )
    calibration: int = option(whole(1), CALIBRATION, help="Calibration inputs.")
    memory: int = option(
        BYTES,
        MEMORY,
        help="Most memory that the search may take: 2GB, 800MB.",
        unit="bytes",
        shown="2GB",
    )
    keep_first_last: bool = option(
        SWITCH, False, help="Keep the first and the last layer at 8 bits."
    )
    kinds: tuple[str, ...] = option(
        methods("kinds"), (), help="Further kinds of choices to open: see automl methods."
    )
    measure: bool = option(
        SWITCH, False, help="Measure what the best use, until the winner is measured."
    )

    stages: int = option(
        whole(1, most=20), 1, help="Prune and train in so many stages to the budget."
    )
    recover: str = option(
        RECOVERY,
        "0",
        help="Training after each stage: as for automl apply; stages need it.",
        shown="no training",
    )

    workers: int = option(whole(1), 1, help="Candidates scored at once; several need Ray.")
    ray: str | None = option(
        text("ADDRESS"),
        None,
        help="Ray cluster of the workers: auto, HOST:PORT, or local for an own instance.",
        shown="local where there are several workers",
    )
    score_timeout: float = option(
        DURATION,
        SCORE_SECONDS,
        help="Most time for one candidate, or to score a network; then it has failed.",
        unit="seconds",
        shown="30min",
    )

    @property
    def budgets(self) -> tuple[tuple[str, ...], ...]:
        """Limits that hold together, one tuple a search: ("2ms,4ms", "4MB") asks for two."""
        return tuple(product(*(written.split(",") for written in self.budget)))

    @property
    def limited(self) -> frozenset[Quantity]:
        """Quantities that a budget limits."""
        return frozenset(parse_budget(text).quantity for limits in self.budgets for text in limits)

    @property
    def opened(self) -> Opened:
        """What may be chosen."""
        return opened_by(self.choices, self.kinds, self.depth, self.limited)

    def check_together(self) -> None:
        """Refuse what would be ignored, or would fail only after hours."""
        SpaceOptions.check_together(self)
        self._check_choices()
        budgets = self.budgets
        twice = next((one for one in budgets if budgets.count(one) > 1), None)
        if twice is not None:
            raise OptionError("budget", f"{' and '.join(twice)} is asked for twice")
        if self.keep_first_last and self.precisions == ("float",):
            raise OptionError(
                "keep_first_last",
                "holds layers in 8 bits, and none are chosen",
                options=("precisions",),
            )
        if self.stages > 1 and recovery_of(self.recover) == AskedRecovery():
            raise OptionError(
                "stages", "each stage is trained: say how", options=("stages", "recover")
            )
        self._check_proxy()
        if self.ssh and not self.measure:
            raise OptionError(
                "ssh", "a search needs a board only where it measures", options=("measure",)
            )
        if self.measure:
            self._check_measure()

    def _check_choices(self) -> None:
        """Refuse options that say something of what is not open, or something else of it."""
        opened = self.opened
        said = {
            "depth": not self.depth and opened.blocks,
            "resolutions": bool(self.resolutions) and not opened.resolution,
            "round_to": self.round_to is not None and not opened.channels,
            "precisions": self.precisions not in (("auto",), ("float",)) and not opened.bits,
        }
        for name, contradicts in said.items():
            if contradicts:
                raise OptionError(
                    "choices",
                    f"are {', '.join(self.choices)}: {name} says otherwise",
                    options=("choices", name),
                )
        if self.choices != ("auto",) and opened.bits and self.precisions == ("float",):
            raise OptionError(
                "choices", "have bits, and layers compute in float", options=("precisions",)
            )

    def _check_proxy(self) -> None:
        """Refuse a proxy that cannot make what may be chosen, and two of them."""
        asked = [
            name
            for name, given in (
                ("proxy", self.proxy != REFIT),
                ("recover_in_loop", self.recover_in_loop is not None),
                ("supernet", self.supernet is not None),
            )
            if given
        ]
        if not asked:
            return
        if len(asked) > 1:
            raise OptionError(
                asked[1],
                f"is one way to rank candidates and {asked[0]} another: give one of them",
                options=asked,
            )
        opened = self.opened
        rounds = opened.bits and self.precisions != ("float",)
        if rounds or opened.forms or opened.kinds:
            raise OptionError(
                asked[0],
                "ranks networks of channels and blocks in float, and more may be chosen: give"
                " choices channels,blocks",
                options=("choices",),
            )
        if asked[0] == "recover_in_loop" and (self.workers > 1 or self.ray is not None):
            raise OptionError(
                "recover_in_loop",
                "trains on your loader, which is in this process: give one worker",
                options=("workers", "ray"),
            )

    def _check_measure(self) -> None:
        if len(self.budgets) > 1:
            raise OptionError(
                "measure", "makes the prices of one budget better: give one", options=("budget",)
            )
        if not any(parse_budget(limit).quantity == "latency" for limit in self.budget):
            raise OptionError(
                "measure", "needs a budget of time: nothing else is measured", options=("budget",)
            )
