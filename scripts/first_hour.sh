#!/usr/bin/env bash
# The first hour of a new user, in minutes: from an empty folder, with nothing but the program and 200
# pictures in two classes, to an exported classifier. Every command has to succeed, every file that it
# names has to be there, and both trainings have to learn.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --quiet
built=$SECONDS
program=${CARGO_TARGET_DIR:-$PWD/target}/release/train-cli
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# Discs and stripes of random colours on random grounds, as PNG files of 96×72 pixels.
python3 - <<'PYTHON'
import os, random, struct, zlib

WIDTH, HEIGHT = 96, 72

def png(rows):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")

random.seed(0)
for kind in ("discs", "stripes"):
    os.makedirs(f"photos/{kind}")
    for index in range(100):
        ink, ground = ([random.randrange(256) for _ in range(3)] for _ in range(2))
        x0, y0, size = random.randrange(24, 72), random.randrange(18, 54), random.randrange(10, 22)
        def inside(x, y):
            if kind == "discs":
                return (x - x0) ** 2 + (y - y0) ** 2 < size ** 2
            return (x + y + x0) // (size // 2) % 2 == 0
        rows = []
        for y in range(HEIGHT):
            row = []
            for x in range(WIDTH):
                colour = ink if inside(x, y) else ground
                row += [min(255, max(0, value + random.randrange(-12, 13))) for value in colour]
            rows.append(row)
        with open(f"photos/{kind}/{index:03}.png", "wb") as file:
            file.write(png(rows))
PYTHON

# Runs a command, shows what it says, and looks for the files that it names.
run() {
    echo "\$ train-cli $*"
    local code=0 named
    "$program" "$@" >said 2>progress || code=$?
    cat said
    [ "$code" = 0 ] || { cat progress; echo "exit code $code"; exit 1; }
    named=$(sed -nE -e 's/ \(.*\)$//' -e 's/^(written|checkpoint|picture|curves|results|log|tensorboard|run|best .*:) +//p' \
        -e 's/^(exported\/.*)$/\1/p' said)
    while read -r path; do
        [ -z "$path" ] || [ -e "$path" ] || { echo "$path is named and not there"; exit 1; }
    done <<<"$named"
    echo "($(grep -c . <<<"$named") files named, all there)"
}

# Fails unless a condition in Python holds for `line`, the last line of a file of JSON.
holds() {
    python3 -c 'import json, sys
line = json.loads(open(sys.argv[1]).read().strip().splitlines()[-1])
sys.exit(0 if eval(sys.argv[2], {"line": line}) else f"{sys.argv[2]} does not hold for {line}")' "$1" "$2"
}

run init photos
run pretrain --config photos_pretrain.toml --epochs 25
sed -nE 's/^loss +([0-9.]+) → ([0-9.]+)$/{"first": \1, "last": \2}/p' said >losses
holds losses 'line["last"] < 0.9 * line["first"]'
run finetune --config photos_finetune.toml --epochs 12
run eval --checkpoint runs/photos_finetune --json
holds said 'line["top1"] > 0.8'
run predict --checkpoint runs/photos_finetune photos/discs/000.png photos/stripes/000.png
run export --checkpoint runs/photos_finetune --format hf --out exported
test -s exported/README.md
if grep -nE "photos/|runs/|$folder" exported/README.md; then
    echo "the card names a folder of this machine"
    exit 1
fi
echo "the first hour took $((SECONDS - built)) seconds after the build"
