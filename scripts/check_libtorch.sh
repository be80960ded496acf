#!/usr/bin/env bash
# The same for the build with libtorch, on its CPU: lints and all tests, among them those of several
# processes, and two machines in network namespaces. Installs libtorch into .libtorch by itself.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup_libtorch.sh --cpu
cargo clippy --workspace --all-targets --release --features tch -- -D warnings
cargo test --workspace --release --features tch
scripts/two_hosts.sh
