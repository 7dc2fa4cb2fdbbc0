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
        conditions: How the sources timed, as far as they say.
        power_mode: As far as the sources state it.
    """

    name: str
    aliases: tuple[str, ...]
    units: tuple[UnitKey, ...]
    threads: int | None
    conditions: str
    power_mode: str = ""


_SOURCES = "of the engine alone: what each source's program adds to it is part of the fit"
_TFLITE = "clocks not stated"
_NCNN = "benchncnn, average of its loops; clocks not stated"
_ORIN_NANO = "sources state JetPack 5 and 6.0, so at most 15 W and 625 MHz; Super is another table"
_ORIN_NX = "not Super: a source whose times say 1173 MHz is left out"
_SUPER = "MAXN_SUPER, 1020 MHz"


def _jetson(
    name: str,
    aliases: tuple[str, ...],
    power_mode: str = "",
    device: str = "",
    int8: bool = False,
) -> TableSpec:
    precisions = ("fp16", "int8") if int8 else ("fp16",)
    units = tuple(UnitKey(device or name, "tensorrt", "", one) for one in precisions)
    return TableSpec(name, aliases, units, None, _SOURCES, power_mode)


def _phone(device: str, core: str, aliases: tuple[str, ...] = ()) -> TableSpec:
    units = tuple(UnitKey(device, "tflite", f"1{core}", one) for one in ("fp32", "int8"))
    return TableSpec(f"{device}-{core}", aliases, units, 1, f"one core; {_TFLITE}; {core} core")


def _pi(name: str, aliases: tuple[str, ...], device: str, precision: str) -> tuple[TableSpec, ...]:
    def table(threads: int, names: tuple[str, ...]) -> TableSpec:
        cores = f"{threads}xbig"
        units = tuple(UnitKey(device, "ncnn", cores, one) for one in (precision, "int8"))
        return TableSpec(f"{name}-{threads}t", names, units, threads, _NCNN)

    return table(1, aliases), table(4, ())


def _board(device: str, precision: str, *cores: str) -> tuple[TableSpec, ...]:
    """Tables of a board, one for each set of cores ("4xbig"); the first has the board's name."""

    def table(place: int, used: str) -> TableSpec:
        count, kind = used.split("x")
        units = tuple(UnitKey(device, "ncnn", used, one) for one in (precision, "int8"))
        name = f"{device}-{count}{'t' if kind == 'any' else kind}"
        conditions = _NCNN if kind == "any" else f"{_NCNN}; {kind} cores"
        return TableSpec(name, (device,) * (place == 0), units, int(count), conditions)

    return tuple(table(place, used) for place, used in enumerate(cores))


#: Whole-network tables. INT8 on Jetson is there where two sources timed two families of networks.
SPECS = (
    _jetson("jetson-nano", ("nano", "jetson-nano-2gb")),
    _jetson("jetson-tx2", ("tx2",)),
    _jetson("jetson-agx-xavier", ("agx-xavier", "xavier")),
    _jetson("jetson-xavier-nx", ("xavier-nx", "jetson-xavier-nx-8gb")),
    _jetson("jetson-orin-nano", ("jetson", "orin-nano", "jetson-orin-nano-8gb"), _ORIN_NANO),
    _jetson("jetson-orin-nano-super", ("orin-nano-super",), _SUPER, int8=True),
    _jetson("jetson-orin-nx", ("orin-nx", "jetson-orin-nx-16gb"), _ORIN_NX, "jetson-orin-nx-16gb"),
    _jetson("jetson-agx-orin-32gb", ("agx-orin-32gb",)),
    _jetson(
        "jetson-agx-orin",
        ("agx-orin", "jetson-agx-orin-64gb", "agx-orin-64gb"),
        device="jetson-agx-orin-64gb",
    ),
    *(
        table
        for device in ("pixel4", "s10", "mi8se", "a03s")
        for table in (_phone(device, "large", (device,)), _phone(device, "small"))
    ),
    TableSpec(
        "pixel3-4t",
        ("pixel3",),
        tuple(UnitKey("pixel3", "tflite", "4any", one) for one in ("fp32", "int8")),
        4,
        f"four threads; {_TFLITE}",
    ),
    *_pi("rpi3b+", ("rpi3", "rpi3b+"), "rpi3b+", "fp32"),
    *_pi("rpi4", ("rpi4", "rpi4b"), "rpi4b", "fp32"),
    *_pi("rpi5", ("rpi5",), "rpi5", "fp16"),
    *_board("rk3588", "fp16", "4xbig", "1xbig", "1xlittle", "4xlittle", "1xany", "8xany"),
    *_board("orangepi5-plus", "fp16", "4xbig"),
    *_board("rk3399-ncnn", "fp32", "2xbig", "1xbig", "1xlittle", "4xlittle"),
    *_board("orangepi4-lts", "fp32", "2xbig", "4xlittle", "6xany"),
    *_board("khadas-vim3", "fp32", "4xbig", "1xbig"),
    *_board("orangepi-cm4", "fp16", "4xany", "1xany"),
    *_board("radxa-zero-3w", "fp16", "4xany"),
    *_board("rock3a", "fp16", "4xany", "1xany"),
    *_board("avaota-t527", "fp16", "4xbig"),
    *_board("orangepi-zero2", "fp32", "4xany"),
    *_board("rdk-x3", "fp32", "4xany"),
    *_board("nanopi-r2s", "fp32", "4xany", "2xany"),
    *_board("arduino-uno-q", "fp32", "4xany", "1xany"),
)
#: Measured operators, as rows beside their fit.
RK3399 = TableSpec(
    "rk3399",
    ("rk3399-tvm",),
    (UnitKey("rk3399", "tvm-autotvm", "", "fp32"),),
    None,
    "best schedule found by a tuner, one operator alone; threads and clocks not stated",
)
