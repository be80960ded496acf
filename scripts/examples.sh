#!/usr/bin/env bash
# Runs the examples of the crates on the bundled pictures: pretraining, fine-tuning from its checkpoint,
# and an objective of one's own, which has to go on from a checkpoint bit for bit.
set -euo pipefail
cd "$(dirname "$0")/.."

# The whole workspace, so that dependencies are built with the features that its tests use.
cargo build --release --quiet --workspace --examples
examples=${CARGO_TARGET_DIR:-target}/release/examples
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$examples/pretrain" data/sample "$work/pretrained" 2
"$examples/finetune" data/sample "$work/pretrained" "$work/classifier" 2
"$examples/own_objective" data/sample/train "$work/whole"

cp -r "$work/whole" "$work/resumed"
rm -r "$work/resumed/checkpoints/step-00000060" "$work/resumed/checkpoints/step-00000080"
"$examples/own_objective" data/sample/train "$work/resumed"
for file in model optimizer; do
    cmp "$work"/{whole,resumed}/checkpoints/step-00000080/$file.safetensors
done
test -f "$work/resumed/log.jsonl"
echo "3 passed, 0 failed"
