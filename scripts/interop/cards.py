"""Model cards as the Hub reads them, and their code as people paste it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from checks import train_cli

BASE = "someone/base"
CONFIG = """
[model]
depths = [1, 1, 2, 1]
hidden_sizes = [8, 16, 32, 64]

[finetune]
ema_decay = 0.9

[data]
path = "data/sample"
image_size = 64

[augment]
mixup = 0.0
cutmix = 0.0

[optim]
lr = 1e-3
warmup_epochs = 0

[train]
batch_size = 50
max_steps = 4
"""


def on_the_hub(folder: Path, weights: Path):
    """Puts an export of weights where the Hub's cache would have it."""
    model = folder / ("models--" + BASE.replace("/", "--"))
    train_cli("export", "--checkpoint", weights, "--format", "hf", "--out", model / "snapshots" / ("0" * 40))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0" * 40)


def as_the_hub_reads_it(folder: Path, scores):
    """Header and results survive the Hub's own reading and writing."""
    card = ModelCard.load(folder / "README.md")
    again = ModelCardData(**{**card.data.to_dict()})
    assert again.to_dict() == card.data.to_dict(), "the header changes when it is written again"
    text = (folder / "README.md").read_text()
    assert text.count("\n---\n") == 1 and not re.search(r"(/tmp|/home|data/sample|runs/)", text), text
    if scores is None:
        assert card.data.eval_results is None and "epochs" not in text, text
        return
    name, results = model_index_to_eval_results(card.data.to_dict()["model-index"])
    assert eval_results_to_model_index(name, results) == card.data.to_dict()["model-index"]
    found = {result.metric_args["top_k"]: result.metric_value for result in results}
    assert found == {1: round(scores["top1"], 6), 5: round(scores["top5"], 6)}, (found, scores)
    for result in results:
        result.is_equal_except_value(result)
        assert (result.dataset_type, result.dataset_split) == ("uoft-cs/cifar10", "val"), result
    assert (card.data.base_model, card.data.base_model_relation) == (BASE, "finetune")
    assert card.data.license == "mit" and card.data.datasets == ["uoft-cs/cifar10"]
    assert (folder / "curves.png").is_file() and "(curves.png)" in text


def pasted(folder: Path):
    """The card's code runs in the directory."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr.strip()[-300:]
    assert done.stdout.strip(), "it prints nothing"
    return done.stdout.strip()[:60]


def check(checks, work: Path):
    folder = work / "cards"
    folder.mkdir()
    config = folder / "config.toml"
    config.write_text(CONFIG)
    cache = folder / "cache"
    on_the_hub(cache, work / "tiny" / "ours")
    os.environ["HF_HUB_CACHE"] = str(cache)
    run = folder / "run"
    train_cli("finetune", "--config", config, "--run-dir", run, "--init", f"hf:{BASE}")
    del os.environ["HF_HUB_CACHE"]
    scores = json.loads(train_cli("eval", "--checkpoint", run, "--json"))
    sources = {"run": (run, scores), "imported": (work / "tiny" / "ours", None), "encoder": (work / "tiny" / "encoder", None)}
    for name, (source, known) in sources.items():
        for form in ["hf", "timm", "official", "onnx"]:
            target = folder / f"{name}-{form}"
            options = ["--license", "mit", "--dataset", "uoft-cs/cifar10"] if known else []
            train_cli("export", "--checkpoint", source, "--format", form, "--out", target, *options)
            checks.check(f"card of {name} as {form}: read by huggingface_hub", lambda: as_the_hub_reads_it(target, known))
            checks.check(f"card of {name} as {form}: its code runs", lambda: pasted(target))
