"""Commands under a time limit, and what runs of the program write down."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path


class Failure(Exception):
    """Something that is not as it has to be; the text says what."""


class Skipped(Exception):
    """Something that cannot be tried here; the text says why."""


class Clock:
    """Time that is left, in seconds."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def left(self):
        return self.end - time.monotonic()


@dataclass
class Setting:
    """What all parts of the check have in common."""

    program: str
    out: Path
    work: Path
    dry: bool
    python: str
    clock: Clock
    device: str = field(init=False)
    # Kernels of a GPU, on the processor too.
    kernels: list = field(init=False)

    def __post_init__(self):
        self.device = "libtorch" if self.dry else "cuda:0"
        self.kernels = ["--set", "model.kernels=aten"] if self.dry else []

    def run(self, *arguments, **options):
        """What the program prints, if it succeeds."""
        code, output, errors = execute([self.program, *arguments], self, **options)
        if code != 0:
            raise Failure(f"train-cli {arguments[0]} ended with {code}: {last_lines(errors)}")
        return output

    def json(self, *arguments, **options):
        """The last line that the program prints, as an object."""
        lines = self.run(*arguments, "--json", **options).strip().splitlines()
        if not lines:
            raise Failure(f"train-cli {arguments[0]} printed nothing")
        return json.loads(lines[-1])


def execute(command, setting, limit=120, variables=None):
    """Exit code, standard output and standard error; ends the command and its children after `limit` seconds."""
    seconds = min(limit, setting.clock.left())
    if seconds <= 0:
        raise Failure("no time was left")
    process = start(command, setting, variables)
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        stop(process)
        raise Failure(f"{' '.join(map(str, command[:3]))} … took longer than {seconds:.0f} s") from None
    return process.returncode, output, errors


def start(command, setting, variables=None):
    """A process with a group of its own."""
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=setting.work,
        env=os.environ | (variables or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def stop(process):
    """Kills a process and its children."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate()


def last_lines(text, count=3):
    """The end of a text in one line: the message of a command that failed."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    chosen = [line for line in lines if line.startswith("error")] or lines
    return " / ".join(chosen[-count:]) or "it said nothing"


def has_no_room(text):
    """Whether a message says that memory is too small."""
    return "out of memory" in text or "no memory: batches of" in text


def losses(run: Path):
    """The loss of every update that a run has logged."""
    try:
        text = (run / "log.jsonl").read_text()
    except FileNotFoundError:
        return {}
    # The last line of a run that is under way may be half of one.
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return {line["step"]: line["loss"] for line in lines if line.get("loss") is not None}


def largest_difference(found, wanted):
    """The largest difference of two runs' losses, as a share of the loss, over the steps of both."""
    steps = sorted(found.keys() & wanted.keys())
    if not steps or steps[-1] != max(wanted):
        raise Failure(f"losses of steps {sorted(found)} cannot be compared with those of {sorted(wanted)}")
    return max(abs(found[step] - wanted[step]) / abs(wanted[step]) for step in steps)


def hold(difference, tolerance, what):
    """Fails where a difference is larger than it may be, or no number."""
    if not difference <= tolerance:
        raise Failure(f"{what} differ by {difference:.2g}, more than {tolerance:.2g}")
