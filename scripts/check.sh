#!/usr/bin/env bash
# Everything that a change has to pass: format, lints, documentation, tests, examples.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --workspace --all-targets --release -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --release --quiet
cargo test --workspace --release
scripts/examples.sh
