"""Which tables are shipped, and from which units of the device data each is made."""

from __future__ import annotations

from dataclasses import dataclass

from device_data import UnitKey


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One shipped table.

    Attributes:
        name, aliases: What `--target` accepts.
        units: One unit per precision, the float one first.
        threads: CPU threads; None on a GPU and where the source does not say.
        conditions: How the source timed, as far as it says.
    """

    name: str
    aliases: tuple[str, ...]
    units: tuple[UnitKey, ...]
    threads: int | None
    conditions: str


_TORCH2TRT = "single calls timed from Python; power mode and TensorRT version not stated"
_NETSPRESSO = "model compute only; power mode not stated"
_TFLITE = "one core; clocks not stated"
_NCNN = "benchncnn, average of its loops; clocks not stated"


def _jetson(name: str, aliases: tuple[str, ...], conditions: str) -> TableSpec:
    return TableSpec(name, aliases, (UnitKey(name, "tensorrt", "", "fp16"),), None, conditions)


def _phone(device: str, core: str, aliases: tuple[str, ...] = ()) -> TableSpec:
    units = tuple(UnitKey(device, "tflite", f"1{core}", one) for one in ("fp32", "int8"))
    return TableSpec(f"{device}-{core}", aliases, units, 1, f"{_TFLITE}; {core} core")


def _pi(name: str, aliases: tuple[str, ...], device: str, precision: str) -> tuple[TableSpec, ...]:
    def table(threads: int, names: tuple[str, ...]) -> TableSpec:
        cores = f"{threads}xbig"
        units = tuple(UnitKey(device, "ncnn", cores, one) for one in (precision, "int8"))
        return TableSpec(f"{name}-{threads}t", names, units, threads, _NCNN)

    return table(1, aliases), table(4, ())


#: Whole-network tables. INT8 on Jetson is not among them: no source measured it.
SPECS = (
    _jetson("jetson-nano", ("nano",), _TORCH2TRT),
    _jetson("jetson-agx-xavier", ("agx-xavier", "xavier"), _TORCH2TRT),
    _jetson("jetson-orin-nano", ("jetson", "orin-nano"), _NETSPRESSO),
    _jetson("jetson-agx-orin", ("agx-orin",), _NETSPRESSO),
    *(
        table
        for device in ("pixel4", "s10", "mi8se", "a03s")
        for table in (_phone(device, "large", (device,)), _phone(device, "small"))
    ),
    *_pi("rpi3b+", ("rpi3", "rpi3b+"), "rpi3b+", "fp32"),
    *_pi("rpi4", ("rpi4", "rpi4b"), "rpi4b", "fp32"),
    *_pi("rpi5", ("rpi5",), "rpi5", "fp16"),
)
#: Measured operators, as rows beside their fit.
RK3399 = TableSpec(
    "rk3399",
    ("rk3399-tvm",),
    (UnitKey("rk3399", "tvm-autotvm", "", "fp32"),),
    None,
    "best schedule found by a tuner, one operator alone; threads and clocks not stated",
)
