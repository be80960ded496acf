#!/usr/bin/env bash
# The tests of the kernels under valgrind: no byte is read that was never written, none beyond what was allocated.
#
# Valgrind knows no AVX-512, so the kernels compute with AVX2 there; most tests compute without any, too. Left out are
# tests that compare gradients with differences of thousands of runs, or runs on several numbers of threads: they
# would take hours, and the same code runs in others.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind > /dev/null; then
    (apt-get update && apt-get install -y --no-install-recommends valgrind) > /dev/null 2>&1 || true
fi
if ! command -v valgrind > /dev/null; then
    echo "skipped: no valgrind here, and it cannot be installed (apt-get install valgrind)"
    exit 0
fi

too_slow=(
    --skip block::tests::forward_and_backward_equal_the_definition
    --skip block::tests::gradients_of_large_weights_equal_the_definition
    --skip the_same_bits_for_any_number_of_threads
    --skip peak
)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/memory
test=$(cargo test --package kernels --release --lib --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*kernels[^"]*\)".*/\1/p' | tail -n 1)
[ -x "$test" ] || { echo "the kernels' tests were not found where cargo said"; exit 1; }
RAYON_NUM_THREADS=2 timeout 600 valgrind --quiet --error-exitcode=9 --fair-sched=yes \
    "$test" --test-threads 2 "${too_slow[@]}"
echo "memory: no byte was read before it was written, or beyond what was allocated"
