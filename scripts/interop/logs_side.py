"""The lines of docs/json.md that bring a log to Weights & Biases and to MLflow, as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from checks import Checks, train_cli


def logged(work: Path):
    """A run's folder with the name that the documentation has."""
    folder = work / "logs"
    run = folder / "runs" / "quickstart"
    options = ["--set", "train.max_steps=6", "--set", "log.every_steps=1", "--set", "train.batch_size=10"]
    train_cli("pretrain", "--config", "configs/quickstart.toml", "--run-dir", run, *options)
    return folder


def lines(name: str):
    text = Path("docs/json.md").read_text()
    (found,) = [block for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if f"import json, {name};" in block]
    return found


def paste(command: str, folder: Path, **environment):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, **environment}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr.strip()[-300:]
    return done.stdout + done.stderr


def by_wandb(folder: Path):
    said = paste(lines("wandb"), folder)
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    assert b"grad_norm" in file.read_bytes() and re.search(r"step\s+6", said), said


def by_mlflow(folder: Path):
    # The small package has no databases; the metrics are the same ones in files.
    paste(lines("mlflow"), folder, MLFLOW_TRACKING_URI=str(folder / "mlruns"), MLFLOW_ALLOW_FILE_STORE="true")
    (losses,) = folder.glob("mlruns/0/*/metrics/loss")
    steps = [line.split()[2] for line in losses.read_text().splitlines()]
    assert steps == ["1", "2", "3", "4", "5", "6"], steps


def main():
    work = Path(sys.argv[1])
    checks = Checks(work / "logs.results")
    folder = logged(work)
    checks.check("log.jsonl goes to Weights & Biases", lambda: by_wandb(folder))
    checks.check("log.jsonl goes to MLflow", lambda: by_mlflow(folder))
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
