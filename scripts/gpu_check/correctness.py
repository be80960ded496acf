"""Is it right on this device? Training, evaluation and prediction against the processor in pure Rust."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

from program import (
    Failure, Skipped, execute, has_no_room, hold, largest_difference, last_lines, losses, start, stop,
)  # fmt: skip

STEPS = 20
# Enough to be stopped on the way.
LONGER = ["--set", "train.max_steps=60"]
# f32 on both sides: sums of many numbers in another order, whose differences 20 updates make larger. Between a
# processor's own kernels they come to 2e-7 in pretraining and to less than 5e-3 in fine-tuning.
TOLERANCE, FINETUNE_TOLERANCE = 1e-3, 1e-2
# Ten bits and eight bits of precision in products; the loss averages over many.
TF32_TOLERANCE, BF16_TOLERANCE = 1e-2, 2e-2
# A GPU computes convolutions in TF32 unless told otherwise; what is compared with f32 must not.
EXACT = {"NVIDIA_TF32_OVERRIDE": "0"}

PRETRAIN = """
seed = 3
[model]
size = "atto"
[data]
path = "pictures"
image_size = 96
workers = 2
[optim]
lr = 4e-4
warmup_epochs = 1
[train]
batch_size = 16
epochs = 100
max_steps = 20
checkpoint_every_steps = 5
[log]
every_steps = 1
pictures_every_steps = 0
"""
FINETUNE = """
seed = 3
[model]
size = "atto"
[data]
path = "pictures"
val_fraction = 0.25
image_size = 96
workers = 2
[augment]
mixup = 0.0
cutmix = 0.0
[optim]
lr = 3e-4
warmup_epochs = 1
[train]
batch_size = 16
epochs = 40
max_steps = 20
checkpoint_every_steps = 0
[log]
every_steps = 1
"""


def machine(setting):
    """The program, the GPU and PyTorch."""
    found = {"version": setting.run("--version").strip()}
    binary = Path(setting.program).read_bytes()
    found["cuda"], found["nccl"] = b"libtorch_cuda.so" in binary, b"c10d16ProcessGroupNCCL" in binary
    asked = "import torch; print(torch.__version__, torch.version.cuda)"
    code, output, _ = execute([setting.python, "-c", asked], setting, limit=60)
    found["torch"] = output.strip() if code == 0 else None
    if setting.dry:
        return found
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        found["gpus"] = execute(query, setting)[1].strip().splitlines()
    for what in ("cuda", "nccl"):
        if not found[what]:
            raise Failure(
                f"{setting.program} was built without {what.upper()}: scripts/setup_libtorch.sh --cuda"
            )
    return found


def selftest(setting):
    """Every operation, gradient and update against the processor, by the program itself."""
    command = [setting.program, "selftest", "--device", setting.device, "--json"]
    code, output, errors = execute(command, setting, limit=240)
    # All comparisons, of a failure above all.
    (setting.out / "selftest.json").write_text(output)
    if code != 0:
        raise Failure(f"selftest ended with {code}: {last_lines(errors)}")
    return {"file": "selftest.json"}


def train(setting, command, run, *more, device=None, variables=EXACT, launch=()):
    """A run and its losses."""
    arguments = training(setting, command, run, *more, device=device)
    said = setting.run(*launch, *arguments, variables=variables)
    return losses(setting.work / run), said


def training(setting, command, run, *more, device=None):
    device = device or setting.device
    kernels = setting.kernels if device == setting.device else []
    config = {"pretrain": "pretrain.toml", "finetune": "finetune.toml"}[command]
    return [command, "--config", config, "--run-dir", run, "--device", device, *kernels, *more]


def reference(setting, execution="compact"):
    """Losses of pretraining on the processor, which several parts compare with; made once."""
    run = f"cpu-{execution}"
    found = losses(setting.work / run)
    if len(found) == STEPS:
        return found
    return train(setting, "pretrain", run, "--set", f"model.execution={execution}", device="cpu")[0]


def pretrain(setting):
    """20 updates of pretraining, compact and masked: the losses of the processor."""
    found = {}
    for execution in ("compact", "masked"):
        own, _ = train(setting, "pretrain", execution, "--set", f"model.execution={execution}")
        found[execution] = largest_difference(own, reference(setting, execution))
        hold(found[execution], TOLERANCE, f"losses of {execution} execution and the processor's")
    return found


def bf16(setting):
    """The same in bf16, which is less exact; and it learns."""
    own, _ = train(setting, "pretrain", "bf16", "--set", "train.precision=bf16")
    difference = largest_difference(own, reference(setting))
    hold(difference, BF16_TOLERANCE, "losses in bf16 and in f32")
    if own[STEPS] >= own[1]:
        raise Failure(f"the loss does not fall: {own[1]} at first, {own[STEPS]} at last")
    return {"difference": difference, "first": own[1], "last": own[STEPS]}


def tf32(setting):
    """The same with TF32 in matrix products and convolutions."""
    if setting.dry:
        raise Skipped("processors have no TF32")
    own, _ = train(setting, "pretrain", "tf32", "--set", "train.tf32=true", variables={})
    difference = largest_difference(own, reference(setting))
    hold(difference, TF32_TOLERANCE, "losses in TF32 and in f32")
    return {"difference": difference}


def finetune(setting):
    """Fine-tuning from a pretrained encoder: losses, accuracy and predictions of the processor."""
    encoder = setting.work / "compact"
    if not encoder.exists():
        train(setting, "pretrain", "compact")
    own, _ = train(setting, "finetune", "classifier", "--init", encoder)
    other, _ = train(setting, "finetune", "cpu-classifier", "--init", encoder, device="cpu")
    found = {"losses": largest_difference(own, other)}
    hold(found["losses"], FINETUNE_TOLERANCE, "losses of fine-tuning and the processor's")
    return found | inference(setting)


def inference(setting):
    """One network judges and predicts on both devices."""

    def judged(device):
        return setting.json("eval", "--checkpoint", "classifier", "--device", device, variables=EXACT)

    def scores(device):
        files = sorted((setting.work / "pictures").glob("*/00*.png"))
        said = setting.run(
            "predict", "--checkpoint", "classifier", "--device", device, "--json", *files, variables=EXACT
        )
        lines = [json.loads(line) for line in said.splitlines()]
        return [{p["label"]: p["score"] for p in line["predictions"]} for line in lines]

    own, other = judged(setting.device), judged("cpu")
    difference = abs(own["loss"] - other["loss"]) / other["loss"]
    hold(difference, 1e-3, "losses of evaluation and the processor's")
    pairs = list(zip(scores(setting.device), scores("cpu"), strict=True))
    score = max(abs(a[label] - b[label]) for a, b in pairs for label in a)
    hold(score, 1e-3, "predicted probabilities and the processor's")
    return {"evaluation": difference, "scores": score, "top1": own["top1"]}


def resume(setting):
    """A run is killed and goes on, is asked to stop and goes on: the losses of one that nobody stopped."""
    whole, _ = train(setting, "pretrain", "whole", *LONGER)
    arguments = training(setting, "pretrain", "stopped", *LONGER, "--resume", "auto")
    end_at(setting, arguments, 7, signal.SIGKILL, -signal.SIGKILL)
    end_at(setting, arguments, 13, signal.SIGTERM, 75)
    setting.run(*arguments, variables=EXACT)
    difference = largest_difference(losses(setting.work / "stopped"), whole)
    hold(difference, TOLERANCE, "losses with and without interruption")
    return {"difference": difference}


def end_at(setting, arguments, step, how, code):
    """Starts a run and sends it a signal once it has logged a step."""
    process = start([setting.program, *arguments], setting, EXACT)
    end = time.monotonic() + min(90, setting.clock.left())
    run = setting.work / arguments[arguments.index("--run-dir") + 1]
    try:
        while max(losses(run), default=0) < step:
            if process.poll() is not None:
                raise Failure(f"it ended before step {step}: {last_lines(process.communicate()[1])}")
            if time.monotonic() > end:
                raise Failure(f"it did not come to step {step} in time")
            time.sleep(0.02)
        os.kill(process.pid, how)
        process.wait(timeout=60)
    finally:
        stop(process)
    if process.returncode != code:
        raise Failure(f"{how.name} ended it with {process.returncode}, not {code}")


def nccl(setting):
    """A process group of one process sums gradients: by NCCL on a GPU, by Gloo on a processor."""
    more = {"DISTRIBUTED_GROUP_OF_ONE": "1", "NCCL_DEBUG": "VERSION"}
    own, said = train(
        setting, "pretrain", "group", variables=EXACT | more, launch=("launch", "--nproc", "1", "--")
    )
    difference = largest_difference(own, reference(setting))
    hold(difference, TOLERANCE, "losses of a group of one and the processor's")
    version = next((line for line in said.splitlines() if "NCCL version" in line), None)
    if version is None and not setting.dry:
        raise Failure("NCCL did not say its version: was it used?")
    return {"difference": difference, "nccl": version}


def memory(setting):
    """A batch that the GPU has no room for ends with a message, not with a crash."""
    if setting.dry:
        raise Skipped("it would take all of this machine's memory")
    command = ["bench", "pretrain", "--config", "huge", "--execution", "masked", "--batch-size", "2048"]
    code, _, errors = execute(
        [setting.program, *command, "--steps", "1", "--device", setting.device], setting
    )
    if code != 1 or not has_no_room(errors) or "panicked" in errors:
        raise Failure(f"it ended with {code}: {last_lines(errors)}")
    return {"message": last_lines(errors, 1)}
