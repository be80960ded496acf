"""transformers, timm and ONNX Runtime against this project, both ways."""

import argparse
import datetime
import json
import math
import sys
from pathlib import Path

import timm
import torch
import transformers
from PIL import Image
from safetensors.numpy import save_file
from timm.models import save_for_hf
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    ConvNextImageProcessor,
    ConvNextV2Backbone,
    ConvNextV2Config,
    ConvNextV2ForImageClassification,
    ConvNextV2Model,
    pipeline,
)

import cards
import preprocessing
from checks import Checks, close, forward, train_cli

PICTURE = "crates/data/tests/goldens/source.jpg"
LABELS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CASES = {
    "tiny": dict(depths=[1, 1, 2, 1], hidden_sizes=[8, 16, 32, 64], image_size=224),
    "atto": dict(depths=[2, 2, 6, 2], hidden_sizes=[40, 80, 160, 320], image_size=224),
}


def randomise(model, seed):
    """Weights that are nowhere trivial, GRN's included, and activations of order one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if ".grn." in name:
                parameter.copy_(0.4 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))
            else:
                parameter.copy_(noise / math.sqrt(parameter[0].numel()))
    return model.eval()


def config(case, **more):
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}
    return ConvNextV2Config(**CASES[case], layer_norm_eps=1e-6, **labels, **more)


def pixels(case):
    side = CASES[case]["image_size"]
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(7))


def same(ours, model, case, output="logits"):
    with torch.no_grad():
        theirs = model(pixels(case))
    return close(ours[output], theirs if torch.is_tensor(theirs) else theirs[output])


def load_strictly(model_class, folder):
    model, info = model_class.from_pretrained(folder, output_loading_info=True)
    wrong = {key: value for key, value in info.items() if value}
    assert not wrong, f"loading said {wrong}"
    return model.eval()


def theirs_come_in(checks, case, work):
    """Random models that transformers and timm saved."""
    side = CASES[case]["image_size"]
    model = randomise(ConvNextV2ForImageClassification(config(case)), 1)
    folder = work / case / "from_transformers"
    model.save_pretrained(folder)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    ConvNextImageProcessor(
        size={"shortest_edge": side}, crop_pct=0.875, image_mean=mean, image_std=std
    ).save_pretrained(folder)
    checks.check(f"{case}: transformers opens here", lambda: same(forward(folder, pixels(case), work), model, case))

    ours = work / case / "ours"
    train_cli("import", folder, "--out", ours)
    checks.check(f"{case}: transformers imported", lambda: same(forward(ours, pixels(case), work), model, case))

    def from_timm():
        sizes = dict(depths=CASES[case]["depths"], dims=CASES[case]["hidden_sizes"])
        args = {} if case == "atto" else sizes
        name = "convnextv2_atto" if case == "atto" else "convnextv2_tiny"
        timm_model = randomise(timm.create_model(name, num_classes=10, **args), 2)
        target = work / case / "from_timm"
        save_for_hf(timm_model, str(target), model_args=args, safe_serialization=True)
        return same(forward(target, pixels(case), work), timm_model, case)

    checks.check(f"{case}: timm opens here", from_timm)

    encoder = randomise(ConvNextV2Model(config(case)), 3)
    folder = work / case / "encoder"
    encoder.save_pretrained(folder)
    outputs = ["pooler_output", "last_hidden_state"]
    for output in outputs:
        checks.check(
            f"{case}: ConvNextV2Model opens here, {output}",
            lambda output=output: same(forward(folder, pixels(case), work), encoder, case, output),
        )

    backbone = randomise(ConvNextV2Backbone(config(case, out_features=["stem", "stage2", "stage4"])), 4)
    folder = work / case / "backbone"
    backbone.save_pretrained(folder)

    def backbone_maps():
        ours = forward(folder, pixels(case), work)
        with torch.no_grad():
            maps = backbone(pixels(case)).feature_maps
        assert sorted(ours) == ["stage2", "stage4", "stem"], sorted(ours)
        return "; ".join(close(ours[name], map) for name, map in zip(["stem", "stage2", "stage4"], maps))

    checks.check(f"{case}: ConvNextV2Backbone's maps", backbone_maps)


def ours_go_out(checks, case, work):
    """One of our checkpoints, in every format."""
    ours = work / case / "ours"
    outputs = forward(ours, pixels(case), work)
    # For the TensorFlow side.
    save_file({"pixel_values": pixels(case).numpy(), **outputs}, work / case / "expected.safetensors")
    exported = {name: work / case / f"exported_{name}" for name in ["hf", "timm", "official"]}
    for name, folder in exported.items():
        train_cli("export", "--checkpoint", ours, "--format", name, "--out", folder)

    def by_transformers():
        assert AutoConfig.from_pretrained(exported["hf"]).layer_norm_eps == 1e-6
        return same(outputs, load_strictly(AutoModelForImageClassification, exported["hf"]), case)

    checks.check(f"{case}: exported to transformers", by_transformers)

    def by_pipeline():
        processor = AutoImageProcessor.from_pretrained(exported["hf"])
        assert list(processor.image_mean) == [0.485, 0.456, 0.406], processor.image_mean
        jpeg = square_jpeg(work)
        theirs = pipeline("image-classification", model=str(exported["hf"]))(str(jpeg), top_k=5)
        ours_too = json.loads(train_cli("predict", "--checkpoint", ours, "--json", jpeg))["predictions"]
        labels = [[row["label"] for row in rows] for rows in (ours_too, theirs)]
        assert labels[0] == labels[1], labels
        difference = max(abs(a["score"] - b["score"]) for a, b in zip(ours_too, theirs))
        # transformers reads and resizes the picture with other arithmetic.
        assert difference < 0.03, difference
        return f"{labels[0][0]}, scores within {difference:.3f}"

    checks.check(f"{case}: pipeline and predict name the same classes", by_pipeline)

    def by_timm(**arguments):
        name = arguments.pop("name", f"local-dir:{exported['timm']}")
        return same(outputs, timm.create_model(name, **arguments).eval(), case)

    checks.check(f"{case}: exported to timm, local-dir", lambda: by_timm(pretrained=True))

    def labels_of_timm():
        model = timm.create_model(f"local-dir:{exported['timm']}", pretrained=True)
        assert list(model.pretrained_cfg["label_names"]) == LABELS, model.pretrained_cfg
        data = timm.data.resolve_model_data_config(model)
        assert tuple(data["input_size"]) == tuple(pixels(case).shape[1:]) and data["crop_pct"] == 0.875, data

    checks.check(f"{case}: timm knows classes and preprocessing", labels_of_timm)
    checks.check(
        f"{case}: timm's directory in transformers",
        lambda: same(outputs, AutoModelForImageClassification.from_pretrained(exported["timm"]).eval(), case),
    )
    if case == "atto":
        by_name = dict(name="convnextv2_atto", num_classes=10)
        weights = exported["timm"] / "model.safetensors"
        checks.check(
            "atto: exported to timm, by name with checkpoint_path",
            lambda: by_timm(**by_name, checkpoint_path=str(weights)),
        )
        for name in ["timm/model.safetensors", "official/checkpoint.pth", "official/model.safetensors"]:
            file = work / case / f"exported_{name}"
            overlay = dict(file=str(file), num_classes=10)
            checks.check(
                f"atto: {name} in timm, by name with pretrained_cfg_overlay",
                lambda: by_timm(**by_name, pretrained=True, pretrained_cfg_overlay=overlay),
            )

    def by_torch():
        state = torch.load(exported["official"] / "checkpoint.pth", weights_only=True)["model"]
        model = ConvNextV2ForImageClassification.from_pretrained(work / case / "from_transformers")
        assert len(state) == len(model.state_dict()), len(state)
        assert torch.equal(state["head.weight"], model.classifier.weight)
        assert torch.equal(state["stages.2.1.grn.gamma"], model.convnextv2.encoder.stages[2].layers[1].grn.weight)

    checks.check(f"{case}: torch.load of the official format", by_torch)

    def encoder_out():
        target = work / case / "exported_encoder"
        train_cli("export", "--checkpoint", work / case / "encoder", "--format", "hf", "--out", target)
        model = load_strictly(AutoModel, target)
        assert type(model) is ConvNextV2Model, type(model)
        return same(forward(work / case / "encoder", pixels(case), work), model, case, "pooler_output")

    checks.check(f"{case}: an encoder exported to transformers", encoder_out)
    if "onnx" in train_cli("export", "--help"):
        checks.check(f"{case}: exported to ONNX", lambda: by_onnx(case, ours, outputs, work))


def square_jpeg(work):
    """A picture whose central crop has whole margins: where they end in a half, transformers truncates
    and the official code rounds to even, one pixel beside it."""
    jpeg = work / "square.jpg"
    Image.open(PICTURE).crop((20, 0, 130, 110)).save(jpeg, quality=95)
    return jpeg


def by_onnx(case, ours, outputs, work):
    import onnxruntime

    target = work / case / "exported_onnx"
    train_cli("export", "--checkpoint", ours, "--format", "onnx", "--out", target)
    file = target if target.is_file() else next(target.glob("*.onnx"))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: pixels(case).numpy()})
    return close(outputs["logits"], found[0])


def pretraining(checks, work):
    """The published kind of pretraining checkpoint, from the fixtures, through the official format."""
    source = Path("crates/interop/tests/goldens/pretrain_sparse.pth")
    target = work / "pretraining"
    train_cli("export", "--checkpoint", source, "--format", "official", "--out", target)

    def equal():
        theirs = torch.load(source, weights_only=False)["model"]
        ours = torch.load(target / "checkpoint.pth", weights_only=True)["model"]
        assert sorted(ours) == sorted(theirs), set(ours) ^ set(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        return f"{len(ours)} tensors"

    checks.check("a pretraining checkpoint comes back as the official code wrote it", equal)


def wrapped(checks, work):
    """What wrappers and trainers make of a timm model, and several files of a transformers one."""
    folder = work / "wrapped"
    folder.mkdir()
    sizes = dict(depths=CASES["tiny"]["depths"], dims=CASES["tiny"]["hidden_sizes"])
    plain, average = (
        randomise(timm.create_model("convnextv2_tiny", num_classes=10, **sizes), seed) for seed in (5, 6)
    )
    holder = torch.nn.Module()
    holder.model, holder.model_ema = plain, torch.optim.swa_utils.AveragedModel(average)
    options = {"lr": 0.1, "when": datetime.datetime(2026, 1, 2), "where": Path("a"), "torch": torch.__version__}
    # As the official code, timm's CheckpointSaver and lightning's trainer name what they save.
    optimizer = torch.optim.AdamW(plain.parameters())
    plain(pixels("tiny")).square().sum().backward()
    optimizer.step(lambda: None)
    randomise(plain, 5)
    training = {"optimizer": optimizer.state_dict(), "epoch": 3, "args": argparse.Namespace(**options)}
    files = {
        "DataParallel": torch.nn.DataParallel(plain).state_dict(),
        "torch.compile": torch.compile(plain).state_dict(),
        "compiled in parallel": torch.nn.DataParallel(torch.compile(plain)).state_dict(),
        "backbone of a model": {f"model.backbone.{name}": value for name, value in plain.state_dict().items()},
        "official": {"model": plain.state_dict(), "model_ema": average.state_dict(), **training},
        "timm's saver": {"state_dict": plain.state_dict(), "state_dict_ema": average.state_dict(), **training},
        "lightning": {"state_dict": {k: v for k, v in holder.state_dict().items() if "n_averaged" not in k}, **training},
        "averaged": torch.optim.swa_utils.AveragedModel(plain).state_dict(),
        "whole module": plain,
    }
    for name, content in files.items():
        file = folder / f"{name.replace(' ', '_')}.pth"
        torch.save(content, file)
        checks.check(f"wrapped: {name}", lambda: same(forward(file, pixels("tiny"), work), plain, "tiny"))
    for name, key in [("official", "model_ema"), ("timm's_saver", "state_dict_ema"), ("lightning", "model_ema")]:
        target = folder / f"{name}_average"
        train_cli("import", folder / f"{name}.pth", "--key", key, "--out", target)
        checks.check(
            f"wrapped: --key {key} of {name}", lambda: same(forward(target, pixels("tiny"), work), average, "tiny")
        )
    early = folder / "early.pth"
    torch.save(plain.state_dict(), early, _use_new_zipfile_serialization=False)
    checks.check("wrapped: before PyTorch 1.6", lambda: same(forward(early, pixels("tiny"), work), plain, "tiny"))

    model = randomise(ConvNextV2ForImageClassification(config("tiny")), 7)
    sharded = folder / "sharded"
    model.save_pretrained(sharded, max_shard_size="60KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 2, list(sharded.iterdir())
    checks.check("shards of safetensors", lambda: same(forward(sharded, pixels("tiny"), work), model, "tiny"))
    pickled = folder / "pickled"
    model.config.save_pretrained(pickled)
    names = list(model.state_dict())
    parts = {f"pytorch_model-0000{i + 1}-of-00002.bin": names[i::2] for i in range(2)}
    for name, part in parts.items():
        torch.save({key: model.state_dict()[key] for key in part}, pickled / name)
    index = {"weight_map": {key: name for name, part in parts.items() for key in part}}
    (pickled / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    checks.check("shards of pytorch_model.bin", lambda: same(forward(pickled, pixels("tiny"), work), model, "tiny"))
    for dtype in (torch.float16, torch.bfloat16):
        half = folder / str(dtype)
        model.to(dtype).save_pretrained(half)
        rounded = ConvNextV2ForImageClassification.from_pretrained(half, dtype=torch.float32).eval()
        checks.check(f"{dtype}", lambda: same(forward(half, pixels("tiny"), work), rounded, "tiny"))
        model = randomise(ConvNextV2ForImageClassification(config("tiny")), 7)


def imagenet(checks, work):
    """A transformers directory with ImageNet's words, evaluated on folders by WordNet id; and the same
    weights without any names."""
    info = timm.data.ImageNetInfo()
    words = [info.index_to_description(i, detailed=False) for i in range(1000)]
    labels = {"id2label": dict(enumerate(words)), "label2id": {name: i for i, name in enumerate(words)}}
    model = randomise(ConvNextV2ForImageClassification(ConvNextV2Config(**CASES["tiny"], **labels)), 8)
    folder, data = work / "imagenet", work / "imagenet_data"
    model.save_pretrained(folder)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    processor = ConvNextImageProcessor(
        size={"shortest_edge": 224}, crop_pct=0.875, image_mean=mean, image_std=std
    )
    processor.save_pretrained(folder)
    unnamed = work / "unnamed.pth"
    torch.save({"model": {k: v for k, v in model.state_dict().items()}}, unnamed)
    classify = pipeline("image-classification", model=model, image_processor=processor)
    generator = torch.Generator().manual_seed(9)
    right = []
    for index in range(48):
        noise = torch.rand(3, 2, 2, generator=generator) * 255
        image = Image.fromarray(noise.byte().permute(1, 2, 0).numpy()).resize((256, 256), Image.NEAREST)
        best = classify(image, top_k=2)
        found = words.index(best[0]["label"])
        # Where the two differ by less than the arithmetic of resizing, the image tells nothing.
        if best[0]["score"] < 1.3 * best[1]["score"]:
            continue
        right.append(index % 3 != 0)
        target = data / info.index_to_label_name(found if right[-1] else (found + 1) % 1000)
        target.mkdir(parents=True, exist_ok=True)
        image.save(target / f"{index}.png")
    assert len(right) > 5 and len(list(data.iterdir())) > 2, (len(right), list(data.iterdir()))
    accuracy = sum(right) / len(right)
    for name, checkpoint in [("transformers' words", folder), ("no names", unnamed)]:

        def evaluated():
            report = json.loads(train_cli("eval", "--checkpoint", checkpoint, "--data", data, "--json"))
            assert report["class_match"] == "imagenet", report
            assert abs(report["top1"] - accuracy) < 1e-9, (report["top1"], accuracy)
            return f"{len(right)} images in {len(list(data.iterdir()))} of 1000 classes, top-1 {accuracy:.3f}"

        checks.check(f"ImageNet's folders: {name}", evaluated)


def main():
    work = Path(sys.argv[1])
    torch.set_num_threads(2)
    transformers.logging.set_verbosity_error()
    checks = Checks(work / "torch.results")
    for case in CASES:
        checks.check(f"{case}: reading", lambda: theirs_come_in(checks, case, work))
        checks.check(f"{case}: writing", lambda: ours_go_out(checks, case, work))
    checks.check(
        "preprocessing", lambda: preprocessing.check(checks, work, config("tiny"), randomise)
    )
    checks.check("cards", lambda: cards.check(checks, work))
    checks.check("pretraining", lambda: pretraining(checks, work))
    checks.check("wrapped", lambda: wrapped(checks, work))
    checks.check("ImageNet", lambda: imagenet(checks, work))
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
