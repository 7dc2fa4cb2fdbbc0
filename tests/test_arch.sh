#!/bin/sh
# Tests of integer arithmetic on processors that this machine does not have, by emulation.
#
#   make test-arch     (AUTOML_ARM64_ROOT=FOLDER for aarch64: tests/benchmarks/make_arm64_root.sh)
#
# Haswell has AVX2 and no VNNI: there products of bytes saturate. What lacks is skipped, and said.
set -u
python=${1:?the Python that runs the tests}
status=0

if ! command -v qemu-x86_64-static >/dev/null; then
    echo "x86-64 without VNNI: skipped, there is no qemu-x86_64-static (Debian: qemu-user-static)"
else
    echo "== x86-64 without VNNI (qemu, Haswell)"
    # A worker is a process of its own, which runs outside of the emulation. What qemu has to say on
    # standard error is features that it lacks, dozens of times.
    OMP_NUM_THREADS=1 qemu-x86_64-static -cpu Haswell "$python" -m pytest \
        -p no:cacheprovider -p no:xdist --deselect \
        tests/profiling/test_worker_products.py::test_the_worker_says_what_its_runtime_finds \
        tests/profiling/test_worker_products.py tests/export/test_session.py \
        tests/export/test_agreement.py tests/export/test_qdq.py 2>/dev/null || status=1
fi

if test -z "${AUTOML_ARM64_ROOT:-}"; then
    echo "aarch64: skipped, AUTOML_ARM64_ROOT names no root (tests/benchmarks/make_arm64_root.sh)"
else
    echo "== aarch64 (qemu): the worker"
    "$python" -m pytest tests/profiling/test_arm64.py || status=1
fi
exit $status
