#!/usr/bin/env bash
# Kills runs at random instants, also while they write a checkpoint, goes on with each by --resume auto, and
# compares what comes out with runs that nobody killed: weights, moments, moving average and best network, byte
# for byte.
#
#   scripts/soak.sh [KILLS] [SEED]      200 kills by default, half of them in pretraining, half in fine-tuning
set -euo pipefail
cd "$(dirname "$0")/.."

kills=${1:-200}
RANDOM=${2:-$$}
cargo build --release --locked --quiet
program=${CARGO_TARGET_DIR:-$PWD/target}/release/train-cli

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
data=$PWD/data/sample
cd "$work"

# A checkpoint every other step: many kills fall into the writing of one.
common() {
    cat << END
seed = 5
[model]
depths = [1, 1]
hidden_sizes = [24, 48]
patch_size = 4
[data]
path = "$data"
image_size = 32
workers = 1
$1
[optim]
lr = 1e-3
warmup_epochs = 1
[train]
batch_size = 8
epochs = 2
max_steps = $2
checkpoint_every_steps = 2
keep_last = 2
[log]
every_steps = 5
pictures_every_steps = 10
END
}
{ common "" 150; printf '[fcmae]\npatch_size = 8\ndecoder_dim = 32\n'; } > pretrain.toml
{ common "" 150; printf '[finetune]\nema_decay = 0.9\n'; } > finetune.toml

train() { # COMMAND RUN
    exec "$program" --quiet "$1" --config "$1.toml" --run-dir "$2" --resume auto > "$2.txt" 2>&1
}

# Files of a run that have to be the same.
results() { # RUN
    (cd "$1/checkpoints" && find . -name '*.safetensors' | sort | xargs sha256sum)
}

soak() { # COMMAND KILLS
    local command=$1 wanted=$2 killed=0 runs=0 writing=0 begin
    begin=$(date +%s%N)
    (train "$command" "$command-straight") || { cat "$command-straight.txt" >&2; exit 1; }
    # A kill falls anywhere into half of an uninterrupted run.
    local span=$(( ($(date +%s%N) - begin) / 2000000 ))
    while (( killed < wanted )); do
        local run=$command-$runs
        runs=$((runs + 1))
        while (( killed < wanted )); do
            (train "$command" "$run") &
            local process=$!
            sleep "$(printf '%d.%03d' $(( (RANDOM * 32768 + RANDOM) % span / 1000 )) $((RANDOM % 1000)))"
            kill -KILL $process 2> /dev/null || { wait $process; break; }
            wait $process 2> /dev/null || true
            killed=$((killed + 1))
            compgen -G "$run/checkpoints/.*.part" > /dev/null && writing=$((writing + 1))
        done
        (train "$command" "$run") || { cat "$run.txt" >&2; exit 1; }
        if ! diff <(results "$command-straight") <(results "$run"); then
            echo "error: $command, killed $killed times by now, came to something else" >&2
            exit 1
        fi
        if compgen -G "$run/checkpoints/.*.part" > /dev/null; then
            echo "error: $run keeps a half checkpoint" >&2
            exit 1
        fi
        rm -rf "$run"
    done
    echo "$command: killed $killed times in $runs runs, $writing of them within a checkpoint; $(results "$command-straight" | wc -l) files are the same"
}

soak pretrain $((kills / 2))
soak finetune $((kills - kills / 2))
