#!/bin/sh
# A Debian arm64 root with ONNX Runtime, for running the worker on aarch64 under qemu.
#
#   tests/benchmarks/make_arm64_root.sh FOLDER [SUITE]
#
# Needs root for debootstrap, and the packages debootstrap and qemu-user-static. About 400 MB.
# Then:  AUTOML_ARM64_ROOT=FOLDER pytest tests/profiling/test_arm64.py
set -eu
folder=$(realpath -m "${1:?folder of the new root}")
suite=${2:-bookworm}
# the mirror that this machine's own packages come from, unless one is named
mirror=${AUTOML_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' | grep -m 1 'debian/$')}
python=$folder/opt/worker/python3
test ! -e "$folder" || { echo "$folder is there already" >&2; exit 2; }
trap 'test -x "$python" || rm -rf "$folder"' EXIT

# The packages are unpacked and not configured: nothing has to run in the root but Python, so
# neither chroot nor binfmt_misc is needed.
debootstrap --arch=arm64 --foreign --variant=minbase --include=python3 "$suite" "$folder" "$mirror"
for package in "$folder"/var/cache/apt/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$folder"
done
rm -f "$folder"/var/cache/apt/archives/*.deb

# ONNX Runtime reads the processor from /proc/cpuinfo, and crashes on that of an x86 host.
rm -f "$folder/proc"
mkdir -p "$folder/proc"
for processor in 0 1; do
    printf 'processor\t: %d\nFeatures\t: fp asimd evtstrm crc32 cpuid\n' "$processor"
    printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n'
    printf 'CPU part\t: 0xd08\nCPU revision\t: 3\n\n'
done > "$folder/proc/cpuinfo"

# Wheels for the root's Python, unpacked here: pip under emulation takes minutes.
version=$(basename "$(ls -d "$folder"/usr/bin/python3.[0-9]*[0-9] | head -n 1)" | cut -c 7-)
python3 -m pip install --quiet --target "$folder/opt/worker/lib" --only-binary=:all: \
    --implementation cp --python-version "$version" \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 numpy onnxruntime
cat > "$python.new" <<SCRIPT
#!/bin/sh
export PYTHONPATH=$folder/opt/worker/lib
exec qemu-aarch64-static -L $folder $folder/usr/bin/python$version "\$@"
SCRIPT
chmod +x "$python.new"
mv "$python.new" "$python"
