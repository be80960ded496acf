#!/usr/bin/env bash
# What can be told of a build with CUDA where there is no GPU: its parts are linked, it starts in silence, takes
# the processor by itself, and says so where a GPU is asked for.
#
#   scripts/check_cuda_build.sh PROGRAM
set -euo pipefail
program=$(realpath "${1:?name the program}")

fail() {
    echo "error: $program $1" >&2
    exit 1
}

# The linker drops a library of which nothing is used; libtorch then knows no CUDA devices.
[[ $(readelf --dynamic "$program") == *libtorch_cuda.so* ]] || fail "is not linked with libtorch_cuda"
# A pipe to `grep -q` would end nm early, which pipefail takes for a failure.
[[ $(nm --dynamic --undefined-only "$program") == *c10d16ProcessGroupNCCL* ]] || fail "has no NCCL"
if ldd "$program" | grep 'not found'; then
    fail "does not find its libraries"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Runs the program, which may neither hang nor complain.
silent() {
    timeout 60 "$program" "$@" > "$work/said" 2> "$work/complained" || fail "$* ended with $?"
    [[ ! -s $work/complained ]] || fail "$* says $(cat "$work/complained")"
}
silent --version
cat "$work/said"
silent info fcmae_atto --json
if command -v nvidia-smi > /dev/null; then
    echo "a GPU may be here: the choice of the processor is not looked at"
    exit 0
fi
bench() {
    timeout 60 "$program" bench infer --batch-size 1 --steps 1 --set data.image_size=64 --json --device "$1"
}
bench auto > "$work/said" 2> "$work/complained" || fail "does not compute by --device auto: $(cat "$work/complained")"
if bench cuda > "$work/said" 2> "$work/complained"; then
    fail "finds a GPU where there is none"
fi
[[ $(wc -l < "$work/complained") == 1 && $(cat "$work/complained") == 'error: --device cuda:0: libtorch sees no GPU'* ]] \
    || fail "explains --device cuda by: $(cat "$work/complained")"
echo "the build with CUDA links, starts without a GPU, and says what it lacks"
