"""The same worker on aarch64: Debian arm64 under qemu, here and over SSH. Functional, no timings.

tests/benchmarks/make_arm64_root.sh makes the root; AUTOML_ARM64_ROOT says where it is.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sshd as servers

from automl.latency.keys import OpKey
from automl.profiling.microbench import probe
from automl.profiling.runner import Limits, LocalRunner, Probe
from automl.profiling.ssh import COMMAND, SSHRunner, parse_host

ROOT = os.environ.get("AUTOML_ARM64_ROOT", "")
PYTHON = Path(ROOT) / "opt/worker/python3"
QUICK = Limits(spread=1.0, seconds=0.1, pass_seconds=1e-4, min_passes=3, max_passes=3)

pytestmark = pytest.mark.skipif(
    not ROOT or not PYTHON.exists(),
    reason="AUTOML_ARM64_ROOT names no root made by tests/benchmarks/make_arm64_root.sh",
)


def check(runner: LocalRunner | SSHRunner) -> None:
    assert runner.info.machine == "aarch64"
    assert runner.info.runtime == "onnxruntime"
    probes = [probe(OpKey("linear", 8, 8)), Probe((b"no model",), (1.0,))]
    found = {measured.probe: measured for measured in runner.run(probes, QUICK)}
    assert found[0].seconds > 0
    assert found[0].error == ""
    assert found[1].error


def test_the_worker_runs() -> None:
    with LocalRunner(python=str(PYTHON)) as runner:
        check(runner)


@pytest.mark.skipif(bool(servers.missing()), reason=servers.missing())
def test_the_bundle_runs_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = servers.start(tmp_path)
    monkeypatch.setenv(COMMAND, server.command)
    try:
        with SSHRunner(parse_host(server.host), python=str(PYTHON)) as runner:
            check(runner)
        assert list(server.temporary.iterdir()) == []
    finally:
        server.stop()
