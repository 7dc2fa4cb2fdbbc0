"""What the chips of the device data can do at most, from their makers' and ARM's published figures.

A peak is multiply-accumulates a second of dense arithmetic in one precision; sparse figures are
halved twice (a MAC is two operations). CPU cores: clock times the MACs of one cycle, which follow
from the width and number of the pipes (Arm's optimization guides; dot products where the core has
them). Bandwidth is that of the memory's bus. No prediction may be above either, and fits start from
them. Where a maker states several clocks or memories, the highest is taken: these are limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device_data import UnitKey

#: 3x3 convolutions at stride 1 by Winograd's F(2x2, 3x3) need 2.25 times fewer products.
WINOGRAD = 2.25
BYTES: Mapping[str, int] = {"fp32": 4, "fp16": 2, "int8": 1}

#: MACs of one core in one cycle.
_A53 = {"fp32": 4, "fp16": 4, "int8": 8}
_A55 = {"fp32": 4, "fp16": 8, "int8": 16}
_A72 = {"fp32": 4, "fp16": 4, "int8": 8}
_A75 = {"fp32": 8, "fp16": 16, "int8": 16}
_A76 = {"fp32": 8, "fp16": 16, "int8": 32}
_KRYO = {"fp32": 8, "fp16": 8, "int8": 16}
_M4 = {"fp32": 12, "fp16": 24, "int8": 32}


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores of one kind: how many, their clock in Hz, and MACs a cycle by precision."""

    count: int
    hertz: float
    macs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Chip:
    """Kinds of cores, largest first, by the names that sources call them, and bytes/s of memory."""

    memory: float
    cores: Mapping[str, Cores]


@dataclass(frozen=True, slots=True)
class Peak:
    """Limits of a unit.

    Attributes:
        macs: MAC/s of its precision.
        memory: Bytes/s.
        threads: Cores that work; 1 for a GPU.
        hertz: Clock of the (largest) cores or the GPU, which the cost of a call goes by.
    """

    macs: float
    memory: float
    threads: int
    hertz: float


#: (fp16 MAC/s, bytes/s, clock) of GPUs; fp32 and int8 relative to fp16 in _GPU_KINDS.
_GPUS: Mapping[str, tuple[str, float, float, float]] = {
    "jetson-nano": ("maxwell", 2.36e11, 25.6e9, 0.92e9),
    "jetson-tx2": ("maxwell", 6.66e11, 59.7e9, 1.3e9),
    "jetson-xavier-nx": ("volta", 3.38e12, 59.7e9, 1.1e9),
    "jetson-agx-xavier": ("volta", 5.64e12, 136.5e9, 1.38e9),
    "jetson-orin-nano": ("ampere", 5.12e12, 68.3e9, 0.625e9),
    "jetson-orin-nano-super": ("ampere", 8.36e12, 102.4e9, 1.02e9),
    "jetson-orin-nx-16gb": ("ampere", 7.52e12, 102.4e9, 0.918e9),
    "jetson-orin-nx-16gb-super": ("ampere", 9.61e12, 102.4e9, 1.173e9),
    "jetson-agx-orin-32gb": ("ampere", 13.3e12, 204.8e9, 0.93e9),
    "jetson-agx-orin-64gb": ("ampere", 21.3e12, 204.8e9, 1.3e9),
}
#: Ampere's fp32 is TF32 on tensor cores, which TensorRT allows unless told otherwise.
_GPU_KINDS: Mapping[str, Mapping[str, float]] = {
    "maxwell": {"fp32": 0.5, "fp16": 1.0},
    "volta": {"fp32": 0.25, "fp16": 1.0, "int8": 2.0},
    "ampere": {"fp32": 0.5, "fp16": 1.0, "int8": 2.0},
}

_RK3399 = Chip(14.9e9, {"big": Cores(2, 2.0e9, _A72), "little": Cores(4, 1.5e9, _A53)})
_RK3588 = Chip(34.1e9, {"big": Cores(4, 2.4e9, _A76), "little": Cores(4, 1.8e9, _A55)})
_RK3566 = Chip(12.8e9, {"any": Cores(4, 1.8e9, _A55)})
_CHIPS: Mapping[str, Chip] = {
    "rpi3b": Chip(3.6e9, {"big": Cores(4, 1.2e9, _A53)}),
    "rpi3b+": Chip(3.6e9, {"big": Cores(4, 1.4e9, _A53)}),
    "rpi4b": Chip(12.8e9, {"big": Cores(4, 1.8e9, _A72)}),
    "rpi5": Chip(17.1e9, {"big": Cores(4, 2.4e9, _A76)}),
    "arduino-uno-q": Chip(14.4e9, {"any": Cores(4, 2.0e9, _A53)}),
    "avaota-t527": Chip(12.8e9, {"big": Cores(4, 1.8e9, _A55)}),
    "khadas-vim3": Chip(12.8e9, {"big": Cores(4, 2.2e9, _A72), "little": Cores(2, 1.8e9, _A53)}),
    "nanopi-r2s": Chip(8.5e9, {"any": Cores(4, 1.3e9, _A53)}),
    "orangepi-cm4": _RK3566,
    "radxa-zero-3w": _RK3566,
    "rock3a": Chip(12.8e9, {"any": Cores(4, 2.0e9, _A55)}),
    "orangepi-zero2": Chip(8.5e9, {"any": Cores(4, 1.5e9, _A53)}),
    "rdk-x3": Chip(12.8e9, {"any": Cores(4, 1.5e9, _A53)}),
    "orangepi4-lts": _RK3399,
    "rk3399-ncnn": _RK3399,
    "rk3399": _RK3399,
    "rk3588": _RK3588,
    "orangepi5-plus": _RK3588,
    "pixel1": Chip(29.8e9, {"large": Cores(2, 2.15e9, _KRYO), "small": Cores(2, 1.6e9, _KRYO)}),
    "pixel2": Chip(29.8e9, {"large": Cores(4, 2.35e9, _A72), "small": Cores(4, 1.9e9, _A53)}),
    "snapdragon835": Chip(
        29.8e9, {"large": Cores(4, 2.45e9, _A72), "small": Cores(4, 1.9e9, _A53)}
    ),
    "kirin970": Chip(29.8e9, {"large": Cores(4, 2.36e9, _A72), "small": Cores(4, 1.8e9, _A53)}),
    "pixel3": Chip(29.9e9, {"large": Cores(4, 2.8e9, _A75), "small": Cores(4, 1.77e9, _A55)}),
    "pixel4": Chip(
        34.1e9,
        {
            "large": Cores(1, 2.84e9, _A76),
            "med": Cores(3, 2.42e9, _A76),
            "small": Cores(4, 1.78e9, _A55),
        },
    ),
    "s10": Chip(
        34.1e9,
        {
            "large": Cores(2, 2.73e9, _M4),
            "med": Cores(2, 2.31e9, _A75),
            "small": Cores(4, 1.95e9, _A55),
        },
    ),
    "mi8se": Chip(14.9e9, {"large": Cores(2, 2.2e9, _A75), "small": Cores(6, 1.7e9, _A55)}),
    "a03s": Chip(12.8e9, {"large": Cores(4, 2.35e9, _A53), "small": Cores(4, 1.8e9, _A53)}),
}


def peak(unit: UnitKey) -> Peak:
    """The limits of a unit's device with the cores that it uses; all of them where none are named.

    Raises:
        KeyError: The device is not listed here.
    """
    if unit.runtime == "tensorrt":
        kind, macs, memory, hertz = _GPUS[unit.device]
        return Peak(macs * _GPU_KINDS[kind][unit.precision], memory, 1, hertz)
    chip = _CHIPS[unit.device]
    count, kinds = _used(unit.cores, chip)
    largest = chip.cores[kinds[0]]
    total, left = 0.0, count
    for kind in kinds:
        cores = chip.cores[kind]
        working = min(left, cores.count)
        total += working * cores.hertz * cores.macs[unit.precision]
        left -= working
    return Peak(total, chip.memory, count, largest.hertz)


def _used(cores: str, chip: Chip) -> tuple[int, list[str]]:
    """How many cores, and which kinds may be among them: "4xbig", "1large", "8xany"."""
    kinds = list(chip.cores)
    digits = len(cores) - len(cores.lstrip("0123456789"))
    count = int(cores[:digits]) if digits else sum(one.count for one in chip.cores.values())
    name = cores[digits:].removeprefix("x")
    return count, [name] if name in chip.cores else kinds
