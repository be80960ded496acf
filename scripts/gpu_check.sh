#!/usr/bin/env bash
# Everything to run on the first machine with an NVIDIA GPU, in 15 minutes: is it right there, and how fast?
#
#   scripts/gpu_check.sh [--out DIR] [--only PART[,PART…]] [--minutes M] [PROGRAM]
#   scripts/gpu_check.sh --dry-run [PROGRAM]      # all of it on the processor, in small: does the script work?
#
# PROGRAM is the train-cli of a build with libtorch: the argument, $TRAIN_CLI, train-cli beside this script, or
# target/release/train-cli. To make one of 40 MB that can be carried to another machine:
#
#   scripts/setup_libtorch.sh --cuda && cargo build --release --features tch
#   strip -o train-cli target/release/train-cli
#
# Besides the program take this script, the folder gpu_check and bench_torch.py, in one folder. Where the program
# does not find libtorch by itself it takes that of a Python with PyTorch of the release that it was built with
# ($PYTHON, default python3), which is also what speed is compared with. Nothing is downloaded.
#
# DIR (default gpu_check_results) gets gpu_check.json and gpu_check.md. A second call adds to what is there: --only
# bench measures what the first had no time for. A part that fails or takes too long is noted and does not stop
# the others; the last line says how many passed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYTHON=${PYTHON:-python3}

arguments=() program=${TRAIN_CLI:-}
while (($#)); do
    case $1 in
        --dry-run) arguments+=("$1") ;;
        --out | --only | --minutes) arguments+=("$1" "${2:?$1 needs a value}"); shift ;;
        -*) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
        *) program=$1 ;;
    esac
    shift
done
for candidate in "$here/train-cli" "$here/../target/release/train-cli"; do
    [[ -n $program || ! -x $candidate ]] || program=$candidate
done
if [[ ! -x $program ]]; then
    echo "error: no program ${program:-train-cli}; name it, or build it: cargo build --release --features tch" >&2
    exit 1
fi

# The folders of the libraries of Python's PyTorch, in front of what the loader searches already: the driver's
# folder must stay there.
if ldd "$program" | grep -q 'not found'; then
    if ! lib=$("$PYTHON" -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "lib"))'); then
        echo "error: $program does not find libtorch, and $PYTHON has no PyTorch to take it from" >&2
        exit 1
    fi
    nvidia=$(find "$lib/../../nvidia" -maxdepth 2 -name lib 2> /dev/null | paste -sd: || true)
    export LD_LIBRARY_PATH="$lib:$nvidia${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    if ldd "$program" | grep 'not found' >&2; then
        echo "error: $PYTHON's PyTorch lacks these libraries; is it of the release that $program was built with?" >&2
        exit 1
    fi
fi
# Nothing is left beside the script.
export PYTHONDONTWRITEBYTECODE=1
exec "$PYTHON" "$here/gpu_check" "${arguments[@]}" "$(realpath "$program")"
