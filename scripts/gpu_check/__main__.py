"""What scripts/gpu_check.sh runs, with the program and its libraries found."""

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import correctness
import pictures
import speed
import table
from program import Clock, Failure, Setting, Skipped

# In this order, each with the seconds that it may take; `bench` takes what is left.
PARTS = {
    "machine": (correctness.machine, 120),
    "selftest": (correctness.selftest, 240),
    "pretrain": (correctness.pretrain, 120),
    "bf16": (correctness.bf16, 60),
    "tf32": (correctness.tf32, 60),
    "finetune": (correctness.finetune, 120),
    "resume": (correctness.resume, 120),
    "nccl": (correctness.nccl, 60),
    "memory": (correctness.memory, 60),
    "operations": (speed.operations, 60),
    "profile": (speed.profile, 120),
    "bench": (speed.bench, None),
}
ROUNDS = 2


def main():
    options = arguments()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="gpu_check-"))
    try:
        return check(options, out, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check(options, out, work):
    results = earlier(out / "gpu_check.json", options.dry_run)
    setting = Setting(
        str(options.program), out, work, options.dry_run, sys.executable, Clock(60 * options.minutes)
    )
    pictures.draw(work / "pictures", 48)
    (work / "pretrain.toml").write_text(correctness.PRETRAIN)
    (work / "finetune.toml").write_text(correctness.FINETUNE)
    total = setting.clock
    for name in options.only:
        part, seconds = PARTS[name]
        setting.clock = Clock(min(total.left(), seconds or total.left()))
        say(f"{name} …")
        results["parts"][name] = attempt(name, part, setting, results["bench"])
        say(f"{name}: {table.told(results['parts'][name]) or 'done'}")
        # After every part, for a call that is cut off.
        (out / "gpu_check.json").write_text(json.dumps(results, indent=1) + "\n")
        (out / "gpu_check.md").write_text(table.page(results))
    return verdict(results["parts"], out)


def attempt(name, part, setting, rows):
    """Runs a part; whatever goes wrong is its result."""
    begin, result = time.monotonic(), {"state": "passed", "found": None}
    try:
        more = (rows, 1 if setting.dry else ROUNDS) if name == "bench" else ()
        result["found"] = part(setting, *more)
    except Skipped as skipped:
        result |= {"state": "skipped", "reason": str(skipped)}
    except Failure as failure:
        result |= {"state": "FAILED", "reason": str(failure)}
    except Exception as error:  # A mistake in here must not cost the other parts.
        traceback.print_exc()
        result |= {"state": "FAILED", "reason": f"{type(error).__name__}: {error}"}
    return result | {"seconds": time.monotonic() - begin}


def verdict(parts, out):
    states = [part["state"] for part in parts.values()]
    passed, skipped = states.count("passed"), states.count("skipped")
    for name, part in parts.items():
        if part["state"] == "FAILED":
            print(f"FAILED {name}: {part['reason']}")
    print(f"written {out}/gpu_check.json and gpu_check.md")
    print(f"{passed} of {len(states)} parts passed, {skipped} skipped")
    return 0 if passed + skipped == len(states) else 1


def earlier(path, dry):
    """What an earlier call has found, on the same kind of device."""
    results = json.loads(path.read_text()) if path.exists() else {}
    if results.get("dry_run") == dry:
        return results
    return {"dry_run": dry, "parts": {}, "bench": []}


def say(text):
    print(text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="gpu_check.sh")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("gpu_check_results"))
    parser.add_argument("--only", type=parts, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("program", type=Path)
    return parser.parse_args()


def parts(text):
    names = text.split(",")
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no part {unknown[0]}; there are {', '.join(PARTS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
