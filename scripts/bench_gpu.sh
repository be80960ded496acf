#!/usr/bin/env bash
# Pretraining and fine-tuning steps of Atto and Base on an NVIDIA GPU, f32 and bf16, compact against
# masked, this project against PyTorch in the same run. One JSON line a measurement, on standard output.
#
#   scripts/bench_gpu.sh [BINARY] > gpu.jsonl      # BINARY: target/release/train-cli of a --cuda build
#   scripts/bench_gpu.sh --dry-run [BINARY]        # a few small steps on the processor: does it work?
#
# Needs nothing but the binary, this folder and a Python with PyTorch of the release that the binary was
# built with (PYTHON, default python3); the binary takes PyTorch's libraries where .libtorch is missing.
# BATCH_ATTO, BATCH_BASE (256, 64), STEPS (7) and ROUNDS (2) set the sizes.
set -euo pipefail
cd "$(dirname "$0")/.."

dry=
if [[ ${1:-} == --dry-run ]]; then dry=1; shift; fi
binary=${1:-target/release/train-cli}
PYTHON=${PYTHON:-python3}
if [[ -n $dry ]]; then
    device=libtorch torch_device=cpu sizes=(atto) steps=${STEPS:-1} rounds=1
    BATCH_ATTO=${BATCH_ATTO:-2} ours=(--set model.kernels=aten)
else
    device=cuda:0 torch_device=cuda sizes=(atto base) steps=${STEPS:-7} rounds=${ROUNDS:-2}
    ours=()
fi
declare -A batch=([atto]=${BATCH_ATTO:-256} [base]=${BATCH_BASE:-64})

[[ -x $binary ]] || { echo "error: no program $binary; build it with --features tch" >&2; exit 1; }
if [[ -z $dry ]] && ! readelf -d "$binary" | grep -q 'NEEDED.*libtorch_cuda'; then
    echo "error: $binary is built without CUDA: scripts/setup_libtorch.sh --cuda, and build again" >&2
    exit 1
fi
if ! ldd "$binary" | grep -q libtorch_cpu; then
    echo "error: $binary is built without libtorch: cargo build --release --features tch" >&2
    exit 1
fi
if ldd "$binary" | grep -q 'not found'; then
    lib=$("$PYTHON" -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "lib"))')
    nvidia=$(ls -d "$lib"/../../nvidia/*/lib 2> /dev/null | paste -sd:)
    export LD_LIBRARY_PATH="$lib:$nvidia${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    if ldd "$binary" | grep 'not found' >&2; then
        echo "error: neither .libtorch nor $PYTHON's PyTorch has these libraries" >&2
        exit 1
    fi
fi
torch=
if "$PYTHON" -c 'import torch' 2> /dev/null; then torch=1; else
    echo "note: $PYTHON has no PyTorch to compare with" >&2
fi
if command -v nvidia-smi > /dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader >&2
fi

# A measurement that fails is reported and does not stop the others.
run() {
    "$@" || echo "{\"failed\": \"$*\"}"
}

measure() { # kind execution size precision
    local kind=$1 execution=$2 size=$3 precision=$4 n=${batch[$3]} flag=()
    [[ $kind == pretrain ]] && flag=(--execution "$execution")
    run "$binary" bench "$kind" "${flag[@]}" --config "configs/fcmae_$size.toml" --batch-size "$n" \
        --steps "$steps" --device "$device" --set "train.precision=$precision" "${ours[@]}" --json
    [[ -z $torch ]] || run "$PYTHON" scripts/bench_torch.py "$kind" "${flag[@]}" --model "$size" \
        --batch "$n" --steps "$steps" --device "$torch_device" --precision "$precision"
}

for ((round = 0; round < rounds; round++)); do
    for size in "${sizes[@]}"; do
        for precision in f32 bf16; do
            measure pretrain compact "$size" "$precision"
            measure pretrain masked "$size" "$precision"
            measure finetune - "$size" "$precision"
        done
    done
done
