"""How fast is it? Steps of training and forward passes, this program and PyTorch in turns."""

import json
import shutil
import statistics
from pathlib import Path

from program import Failure, Skipped, execute, has_no_room, last_lines

BENCH_TORCH = "bench_torch.py"
# Where a measurement with this much time left would only be cut off.
LEAST = 25
BATCHES = (16, 64, 256, 1024)
USUAL = {"atto": 256, "tiny": 128, "base": 64}


def measurements(dry):
    """What is measured, the most telling first: kind, execution, size, precision and batch of each."""
    if dry:
        steps = [("pretrain", "compact"), ("pretrain", "masked"), ("finetune", None), ("infer", None)]
        return [(*step, "atto", precision, 2) for step in steps for precision in ("f32", "bf16")]
    found = []
    for kind, execution in [
        ("pretrain", "compact"),
        ("finetune", None),
        ("pretrain", "masked"),
        ("infer", None),
    ]:
        found += [(kind, execution, size, "bf16", batch) for size, batch in USUAL.items()]
    for precision in ("f32", "tf32"):
        found += [("pretrain", "compact", size, precision, batch) for size, batch in USUAL.items()]
    found += [("pretrain", "compact", size, "bf16", batch) for batch in BATCHES for size in USUAL]
    for precision in ("f32", "tf32"):
        for kind, execution in [("finetune", None), ("pretrain", "masked"), ("infer", None)]:
            found += [(kind, execution, size, precision, batch) for size, batch in USUAL.items()]
    for precision in ("f32", "tf32"):
        found += [("pretrain", "compact", size, precision, batch) for batch in BATCHES for size in USUAL]
    found += [("pretrain", "masked", size, "bf16", batch) for batch in BATCHES for size in USUAL]
    return list(dict.fromkeys(found))


def bench(setting, rows, rounds):
    """Measures in rounds until time is up; `rows` holds what earlier calls have measured, and is added to."""
    engines = {"ours": ours}
    if has_torch(setting):
        engines["torch"] = torch
    wanted = measurements(setting.dry)
    for number in range(rounds):
        for measurement in wanted:
            row = row_of(rows, measurement)
            for name, measure in engines.items():
                # What failed would fail again.
                if len(row[name]) > number or row["failed"].get(name):
                    continue
                if setting.clock.left() < LEAST:
                    return summary(rows, wanted, engines)
                measure_one(setting, rows, row, name, measure)
    return summary(rows, wanted, engines)


def measure_one(setting, rows, row, name, measure):
    smaller = next((other for other in rows if does_not_fit(other, row, name)), None)
    if smaller:
        row["failed"][name] = f"no memory: batches of {smaller['batch']} do not fit"
        return
    try:
        row[name].append(measure(setting, row))
    except Failure as failure:
        # Not what was cut off because time is up: a later call may measure it.
        if setting.clock.left() > 0:
            row["failed"][name] = str(failure)


def does_not_fit(other, row, name):
    """Whether a smaller batch of the same kind had no room."""
    same = all(other[key] == row[key] for key in ("kind", "execution", "size", "precision"))
    return same and other["batch"] < row["batch"] and has_no_room(other["failed"].get(name, ""))


def row_of(rows, measurement):
    keys = dict(zip(("kind", "execution", "size", "precision", "batch"), measurement, strict=True))
    for row in rows:
        if all(row[key] == value for key, value in keys.items()):
            return row
    rows.append(keys | {"ours": [], "torch": [], "failed": {}})
    return rows[-1]


def summary(rows, wanted, engines):
    measured = sum(bool(row["ours"]) for row in rows)
    failed = {
        f"{row['kind']} {row['execution'] or ''} {row['size']} {row['precision']} {row['batch']}, {name}": reason
        for row in rows
        for name, reason in row["failed"].items()
        if not has_no_room(reason)
    }
    if failed:
        raise Failure(f"{len(failed)} measurements failed; the first: {next(iter(failed.items()))}")
    return {"measured": measured, "of": len(wanted), "engines": list(engines)}


def steps(row):
    """Timed steps of a measurement; on a GPU each is the mean of ten."""
    return 3 if row["batch"] >= 512 or row["size"] == "base" else 5


def settings(precision):
    if precision == "tf32":
        return ["--set", "train.tf32=true"]
    return ["--set", f"train.precision={precision}"]


def command(setting, row, count):
    execution = ["--execution", row["execution"]] if row["execution"] else []
    return [
        "bench", row["kind"], "--config", f"fcmae_{row['size']}", *execution, "--batch-size", str(row["batch"]),
        "--steps", str(count), "--device", setting.device, *settings(row["precision"]), *setting.kernels,
    ]  # fmt: skip


def ours(setting, row):
    return setting.json(*command(setting, row, 1 if setting.dry else steps(row)), limit=90)


def torch(setting, row):
    execution = ["--execution", row["execution"]] if row["execution"] else []
    arguments = [
        row["kind"], *execution, "--model", row["size"], "--batch", row["batch"], "--precision", row["precision"],
        "--steps", 1 if setting.dry else steps(row), "--device", "cpu" if setting.dry else "cuda",
    ]  # fmt: skip
    script = Path(__file__).parent.parent / BENCH_TORCH
    output = succeed(setting, [setting.python, script, *arguments], limit=90)
    return json.loads(output.strip().splitlines()[-1])


def has_torch(setting):
    return execute([setting.python, "-c", "import torch"], setting, limit=60)[0] == 0


def operations(setting):
    """Operations, copies and waits of a step."""
    found = {}
    batch = 2 if setting.dry else 64
    for kind, execution in [("pretrain", "compact"), ("pretrain", "masked"), ("finetune", None)]:
        row = {"kind": kind, "execution": execution, "size": "atto", "precision": "f32", "batch": batch}
        line = setting.json(*command(setting, row, 1), "--ops")
        name = f"{kind} {execution}" if execution else kind
        found[name] = {key: line.get(key) for key in ("ops", "copies", "synchronising")}
        missing = [key for key, value in found[name].items() if value is None]
        if missing:
            raise Failure(f"bench --ops says nothing of {', '.join(missing)}")
    return found


def profile(setting):
    """Kernels of a step by time, by Nsight Systems or else Nsight Compute."""
    found = {"nsys": nsys, "ncu": ncu}
    tool = next((tool for tool in found if shutil.which(tool)), None)
    if tool is None or setting.dry:
        raise Skipped("no nsys and no ncu here" if tool is None else "processors have no kernels to profile")
    row = {"kind": "pretrain", "execution": "compact", "size": "base", "precision": "bf16", "batch": 64}
    found[tool](setting, [setting.program, *command(setting, row, 1)], setting.out / "profile.csv")
    return {"by": tool, "file": "profile.csv"}


def nsys(setting, program, file):
    """Sums by kernel, by call of CUDA and by kind of copy, over the whole run."""
    traced = setting.work / "profile"
    traces = ["--trace=cuda,osrt", "--force-overwrite=true", f"--output={traced}"]
    succeed(setting, ["nsys", "profile", *traces, *program])
    reports = ["--report=cuda_gpu_kern_sum", "--report=cuda_api_sum", "--report=cuda_gpu_mem_time_sum"]
    file.write_text(succeed(setting, ["nsys", "stats", *reports, "--format=csv", f"{traced}.nsys-rep"]))


def ncu(setting, program, file):
    """The time of every kernel of some steps, behind those of the warm-up."""
    which = ["--launch-skip", 10000, "--launch-count", 3000]
    told = ["--metrics", "gpu__time_duration.sum", "--page", "raw", "--csv", "--log-file", file]
    succeed(setting, ["ncu", *which, *told, *program])


def succeed(setting, line, limit=120):
    """What a command prints, if it succeeds."""
    code, output, errors = execute(line, setting, limit)
    if code != 0:
        raise Failure(f"{Path(line[0]).name} ended with {code}: {last_lines(errors or output)}")
    return output


def median(lines):
    return statistics.median(line["img_per_s"] for line in lines) if lines else None
