#!/usr/bin/env bash
# The same for the build with libtorch: lints and all tests, among them those of several processes, and two
# machines in network namespaces. Installs libtorch into .libtorch by itself: the one with CUDA, which computes
# on the processor where there is no GPU, so that what GPU users build is compiled and linked; the one without
# where the disk has no room for it.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=cuda
free_gb=$(($(df --output=avail -k . | tail -1) >> 20))
if ((free_gb < 12)) && ! grep -qs 'cuda$' .libtorch/installed; then
    echo "skipped: the build with CUDA, which takes 12 GB while it is installed; $free_gb GB are free, and that \
of the CPU is tested"
    kind=cpu
fi
scripts/setup_libtorch.sh --$kind
cargo clippy --workspace --all-targets --release --features tch -- -D warnings
cargo test --workspace --release --features tch
program=${CARGO_TARGET_DIR:-target}/release/train-cli
[[ $kind == cpu ]] || scripts/check_cuda_build.sh "$program"
# What waits for a GPU is at least no script that fails by itself.
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
scripts/gpu_check.sh --dry-run --out "$results" "$program"
scripts/two_hosts.sh
