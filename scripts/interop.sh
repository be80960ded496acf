#!/usr/bin/env bash
# Opens our checkpoints in transformers, timm, ONNX Runtime and TensorFlow, theirs here, and compares
# the numbers; reads model cards as the Hub does and runs their code; brings a log to Weights & Biases
# and MLflow. Makes its Python environments in .venv-interop by itself (several GB, most of it torch); a
# second run takes a minute. PYTHON chooses the interpreter (3.11 or 3.12).
set -euo pipefail
cd "$(dirname "$0")/.."

# An environment with the packages of scripts/interop/NAME.txt.
environment() {
    local folder=.venv-interop/$1 wanted=scripts/interop/$1.txt
    if ! cmp -s "$wanted" "$folder/installed.txt"; then
        rm -rf "$folder"
        "${PYTHON:-python3}" -m venv "$folder"
        "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
        cp "$wanted" "$folder/installed.txt"
    fi
}

environment torch
environment tensorflow
environment logs
# The whole workspace, so that dependencies are built with the features that its tests use.
cargo build --release --quiet --workspace --bins --examples

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 TF_USE_LEGACY_KERAS=1 TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
status=0
.venv-interop/torch/bin/python scripts/interop/torch_side.py "$work" || status=1
.venv-interop/tensorflow/bin/python scripts/interop/tensorflow_side.py "$work" || status=1
.venv-interop/logs/bin/python scripts/interop/logs_side.py "$work" || status=1
passed=$(cat "$work"/*.results | grep -c '^passed' || true)
failed=$(cat "$work"/*.results | grep -c '^FAILED' || true)
echo "$passed passed, $failed failed"
[[ $status -eq 0 && $failed -eq 0 && $passed -gt 0 ]]
