"""What both sides share: counting checks, comparing numbers, running our programs."""

import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

TOLERANCE = 1e-4


class Checks:
    """Runs named checks and writes down how each went."""

    def __init__(self, results: Path):
        self.results = results.open("w")
        self.failed = 0

    def check(self, name, run):
        try:
            detail = run()
            line = f"passed  {name}" + (f" ({detail})" if detail else "")
        except Exception as error:
            self.failed += 1
            line = f"FAILED  {name}: {error}".splitlines()[0]
            traceback.print_exc()
        print(line, flush=True)
        self.results.write(line + "\n")
        self.results.flush()


def close(ours, theirs):
    """The largest difference, which must be small."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, f"shapes {ours.shape} and {theirs.shape}"
    assert np.abs(theirs).max() > 1e-2, "the numbers are all about zero"
    difference = float(np.abs(ours - theirs).max())
    assert difference <= TOLERANCE, f"largest difference {difference:.2e}"
    return f"largest difference {difference:.1e}"


def run(*command):
    """Standard output of a program that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
        raise RuntimeError(f"{' '.join(str(part) for part in command)} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def train_cli(*arguments):
    return run("target/release/train-cli", *arguments)


def forward(checkpoint, pixel_values, work: Path):
    """What our network makes of normalised images."""
    source, target = work / "pixels.safetensors", work / "outputs.safetensors"
    save_file({"pixel_values": np.ascontiguousarray(pixel_values)}, source)
    run("target/release/examples/forward", checkpoint, source, target)
    return load_file(target)
