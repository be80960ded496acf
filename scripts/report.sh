#!/usr/bin/env bash
# The page of `train-cli report` in a browser: headless Chromium loads it and must find no error, ask for nothing
# but the file itself, move the slider, and lay it out on a phone and on a desk, in light and in dark.
#
#   scripts/report.sh                 makes two runs of the quickstart and reports on them
#   scripts/report.sh RUN [RUN…]      reports on runs that there are
#   SCREENSHOT=FILE.png scripts/report.sh …   also stores pictures of the page: its
#                                     head, and as FILE_classes.png a classifier
set -euo pipefail
cd "$(dirname "$0")/.."

browser=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
if [ -z "$browser" ]; then
    echo "there is no Chromium to look with: apt-get install -y chromium (or name one by CHROMIUM=…)"
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo build --workspace --release --locked --quiet
program=${CARGO_TARGET_DIR:-target}/release/train-cli

if [ $# = 0 ]; then
    "$program" -q pretrain --config configs/quickstart.toml --run-dir "$work/quickstart" \
        --set log.pictures_every_steps=60
    "$program" -q finetune --config configs/finetune_quickstart.toml --run-dir "$work/finetune_quickstart" \
        --init "$work/quickstart"
    set -- "$work/quickstart" "$work/finetune_quickstart"
fi

"$program" report "$@" --out "$work/report.html"
python3 scripts/report_browser.py "$browser" "$work/report.html" ${SCREENSHOT:+"$SCREENSHOT"}

# A name that would ask for something if it were ever read as HTML.
hostile=$work/'<img src=x onerror=alert(1)>&amp;<script>'
cp -r "$1" "$hostile"
"$program" -q report "$hostile" --out "$work/hostile.html" --no-eval
python3 scripts/report_browser.py "$browser" "$work/hostile.html"
