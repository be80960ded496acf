#!/usr/bin/env bash
# Two machines in miniature: two network namespaces that a cable (a veth pair) connects, a rank in
# each. Trains a small network on the bundled pictures over the cable, compares the losses with those
# of one process, then pulls the plug and looks at what the ranks say.
#
# Needs root, iproute2 and a program with libtorch: cargo build --release -p train-cli --features tch
set -euo pipefail
cd "$(dirname "$0")/.."

program=$PWD/${CARGO_TARGET_DIR:-target}/release/train-cli
port=29511
names="convnext-a convnext-b"

skip() {
    echo "skipped: $1" >&2
    exit 0
}
[[ -x $program ]] || { echo "error: no $program; build it first" >&2; exit 1; }
command -v ip > /dev/null || skip "no ip command; install iproute2"
ip netns add convnext-probe 2> /dev/null || skip "this user or container may not make network namespaces"
ip netns delete convnext-probe

work=$(mktemp -d)
# Called by the trap.
# shellcheck disable=SC2317,SC2329
clean_up() {
    for name in $names; do
        ip netns delete "$name" 2> /dev/null || true
        rm -rf "/etc/netns/$name"
    done
    rm -rf "$work"
}
trap clean_up EXIT

for name in $names; do
    ip netns add "$name"
    ip -n "$name" link set lo up
done
ip link add cable-a netns convnext-a type veth peer name cable-b netns convnext-b
ip -n convnext-a address add 10.77.0.1/24 dev cable-a
ip -n convnext-b address add 10.77.0.2/24 dev cable-b
ip -n convnext-a link set cable-a up
ip -n convnext-b link set cable-b up

# A name that leads each machine somewhere else, as Debian's /etc/hosts has it: the first one to itself.
mkdir -p /etc/netns/convnext-a /etc/netns/convnext-b
echo "127.0.1.1 first-machine localhost" > /etc/netns/convnext-a/hosts
echo "10.77.0.1 first-machine localhost" > /etc/netns/convnext-b/hosts

train() { # RUN BATCH STEPS
    echo pretrain --config configs/quickstart.toml --device cpu --run-dir "$work/$1" --set log.every_steps=1 \
        --set train.batch_size="$2" --set train.max_steps="$3"
}
host() { # NUMBER RUN STEPS [MASTER]
    local name
    name=$(cut -d' ' -f$(($1 + 1)) <<< "$names")
    # shellcheck disable=SC2046 # words
    ip netns exec "$name" env DISTRIBUTED_TIMEOUT_S=30 "$program" launch --nproc 1 --nnodes 2 \
        --node-rank "$1" --master-addr "${4:-10.77.0.1}" --master-port $port -- $(train "$2" 16 "$3")
}
losses() {
    grep '"lr"' "$work/$1/log.jsonl" | sed -E 's/.*"step":([0-9]+).*"loss":([0-9.e-]+).*/\1 \2/'
}

echo "== one process, batch 32"
# shellcheck disable=SC2046 # words
"$program" $(train one 32 20) > "$work/one.txt" 2>&1 || { cat "$work/one.txt" >&2; exit 1; }
echo "== two hosts, batch 16 each"
host 1 two 20 > "$work/b.txt" 2>&1 &
other=$!
host 0 two 20 > "$work/a.txt" 2>&1 || { cat "$work/a.txt" "$work/b.txt" >&2; exit 1; }
wait $other || { cat "$work/b.txt" >&2; exit 1; }
paste <(losses one) <(losses two) | awk '
    { d = $2 - $4; if (d < 0) d = -d; if (d / $2 > worst) worst = d / $2; n++ }
    END { printf "%d steps, largest difference of the loss %.1e of it\n", n, worst; exit !(n == 20 && worst < 2e-4) }'

echo "== a master at 127.0.1.1"
host 1 name 5 first-machine > "$work/b.txt" 2>&1 &
other=$!
host 0 name 5 first-machine > "$work/a.txt" 2>&1 || { cat "$work/a.txt" "$work/b.txt" >&2; exit 1; }
wait $other || { cat "$work/b.txt" >&2; exit 1; }
diff <(losses name) <(losses two | head -n 5)
echo "the same losses"

echo "== the cable is pulled at step 5"
host 1 cut 100000 > "$work/b.txt" 2>&1 &
other=$!
host 0 cut 100000 > >(tee "$work/a.txt" | { grep -m1 'step *5/' > /dev/null && ip -n convnext-a link set cable-a down; cat > /dev/null; }) 2>&1 &
leader=$!
status=0
wait $leader || status=$?
wait $other && status=0
grep -h 'error: ' "$work/a.txt" "$work/b.txt"
[[ $status -ne 0 ]] || { echo "error: a rank went on without the other" >&2; exit 1; }
[[ $(cat "$work/a.txt" "$work/b.txt" | grep -c 'did not answer') -eq 2 ]]
echo "ok"
