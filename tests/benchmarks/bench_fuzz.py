"""All readers fed with changed files, each input held to five CPU seconds and to its memory.

    python tests/benchmarks/bench_fuzz.py --inputs 1000000 --out build/fuzz

Goes on where it stopped. What is wrong is kept in the folder, as the file that shows it. An input
may take ten times its size and 100 MB.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT / each)
    for each in ("search", "tests", "tests/latency", "tests/report", "tests/userdata")
]

import torch  # noqa: E402
from hostile import READERS, Reader, inputs, verdict  # noqa: E402

CPU_SECONDS, TIMES, BESIDES = 5.0, 10, 100_000_000
#: Inputs that one process takes, and seconds after which it is ended from outside.
PART, WALL_SECONDS = 1000, 600


class TooLong(BaseException):
    """No reader catches it."""


@dataclass(slots=True)
class Count:
    """What came of a reader's inputs."""

    reader: str
    done: int = 0
    accepted: int = 0
    refused: int = 0
    wrong: int = 0
    slowest: float = 0.0
    most_bytes: int = 0
    shown: list[str] = field(default_factory=list)


def _memory(which: str) -> int:
    """Bytes of this process: VmHWM at most so far, VmRSS now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(which))
    return 1024 * int(line.split()[1])


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _one(reader: Reader, path: Path, content: bytes) -> tuple[str, float, int]:
    """What a reader says of an input, its CPU seconds and the memory that it took."""
    path.write_bytes(content)
    before, start = _memory("VmRSS"), time.process_time()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    try:
        with _limited():
            answer = verdict(reader, path)
    except TooLong:
        answer = f"more than {CPU_SECONDS:g} CPU seconds"
    except BaseException as error:
        answer = f"{type(error).__name__}: {error}"
    seconds, taken = time.process_time() - start, _memory("VmHWM") - before
    if answer in ("accepted", "refused") and taken > TIMES * len(content) + BESIDES:
        answer = f"{taken:,} bytes of memory for {len(content):,} of input"
    return answer, seconds, taken


def _part(reader: Reader, count: Count, size: int, out: Path) -> None:
    """The next inputs of a reader."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / reader.file
        for content in islice(inputs(reader, count.done), size):
            answer, seconds, taken = _one(reader, path, content)
            count.slowest = max(count.slowest, round(seconds, 3))
            count.most_bytes = max(count.most_bytes, taken)
            if answer in ("accepted", "refused"):
                setattr(count, answer, getattr(count, answer) + 1)
            else:
                count.wrong += 1
                (out / f"{reader.name} {count.done}").write_bytes(content)
                count.shown = [*count.shown, f"{count.done}: {answer[:300]}"][:20]
            count.done += 1


def _in_a_process(reader: Reader, count: Count, size: int, out: Path) -> Count:
    """The same in a process of its own: what ends it, or hangs in it, is counted too."""
    file = out / f"{reader.name}.json"
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (WALL_SECONDS, WALL_SECONDS))
        signal.alarm(2 * WALL_SECONDS)
        try:
            _part(reader, count, size, out)
            file.write_text(json.dumps(asdict(count)) + "\n", encoding="utf-8")
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    found = _read(reader, out)
    if found.done == count.done:
        count.wrong += 1
        count.shown.append(f"among {count.done} to {count.done + size}: ended by {status}")
        count.done += size
        file.write_text(json.dumps(asdict(count)) + "\n", encoding="utf-8")
        return count
    return found


def _read(reader: Reader, out: Path) -> Count:
    file = out / f"{reader.name}.json"
    if not file.exists():
        return Count(reader.name)
    return Count(**json.loads(file.read_text(encoding="utf-8")))


def _spent() -> float:
    """CPU seconds of the processes that were fed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Feed each reader its share, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all readers together")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of CPU time, at most")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fuzz")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("error")
    logging.disable()
    torch.set_num_threads(1)
    gc.freeze()
    share = -(-options.inputs // len(READERS))
    counts = {reader.name: _read(reader, options.out) for reader in READERS}
    while left := [each for each in READERS if counts[each.name].done < share]:
        reader = min(left, key=lambda each: counts[each.name].done)
        if _spent() >= 60 * options.minutes:
            break
        count = counts[reader.name]
        size = min(PART, share - count.done)
        counts[reader.name] = _in_a_process(reader, count, size, options.out)
    print("| reader | inputs | accepted | refused | wrong | slowest, CPU s | most memory, MB |")
    print("|---|---|---|---|---|---|---|")
    for each in counts.values():
        print(
            f"| {each.reader} | {each.done:,} | {each.accepted:,} | {each.refused:,} |"
            f" {each.wrong} | {each.slowest:.2f} | {each.most_bytes / 1e6:.0f} |"
        )
        for line in each.shown:
            print(f"  {line}", file=sys.stderr)
    done = sum(each.done for each in counts.values())
    print(f"\n{done:,} inputs, {sum(each.wrong for each in counts.values())} wrong")


if __name__ == "__main__":
    main()
