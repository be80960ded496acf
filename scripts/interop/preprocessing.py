"""Pixels and logits of evaluation against timm's and transformers' own preprocessing."""

import json

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.numpy import load_file
from transformers import AutoImageProcessor, ConvNextImageProcessor, ConvNextV2ForImageClassification
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

from checks import close, run, train_cli

# Odd sides, in which margins of half a pixel occur.
SHAPES = {"landscape": (331, 243), "portrait": (187, 301)}

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
BYTES = dict(image_mean=[123.675, 116.28, 103.53], image_std=[58.395, 57.12, 57.375])

# Settings of transformers' preprocessor_config.json.
TRANSFORMERS = {
    "224, crop": dict(size={"shortest_edge": 224}, crop_pct=0.875),
    "224, bilinear, crop 0.95": dict(size={"shortest_edge": 224}, crop_pct=0.95, resample=2),
    "161, lanczos": dict(size={"shortest_edge": 161}, crop_pct=0.9, resample=1),
    "200, nearest": dict(size={"shortest_edge": 200}, crop_pct=1.0, resample=0),
    "383, crop": dict(size={"shortest_edge": 383}, crop_pct=0.96, resample=3),
    "384, squashed": dict(size={"shortest_edge": 384}, crop_pct=0.875),
    "400, hamming, squashed": dict(size={"shortest_edge": 400}, resample=5),
    "not rescaled": dict(size={"shortest_edge": 96}, do_rescale=False, **BYTES),
    "rescaled otherwise": dict(
        size={"shortest_edge": 96}, rescale_factor=1 / 127.5, image_mean=[1.0] * 3, image_std=[1.0] * 3
    ),
    "not normalised": dict(size={"shortest_edge": 96}, do_normalize=False),
    "neither": dict(size={"shortest_edge": 96}, do_normalize=False, do_rescale=False),
}

# Settings of timm's pretrained_cfg.
TIMM = {
    "224, crop": dict(crop_pct=0.875),
    "bilinear, crop 0.95": dict(crop_pct=0.95, interpolation="bilinear"),
    "lanczos, 161": dict(input_size=(3, 161, 161), crop_pct=0.9, interpolation="lanczos"),
    "box, 384 cropped": dict(input_size=(3, 384, 384), crop_pct=0.96, interpolation="box"),
    "squashed": dict(input_size=(3, 384, 384), crop_pct=1.0, crop_mode="squash"),
    "squashed and cropped": dict(crop_pct=0.9, crop_mode="squash", interpolation="bilinear"),
    "bordered": dict(crop_pct=1.0, crop_mode="border"),
    "bordered and cropped": dict(crop_pct=0.9, crop_mode="border", interpolation="hamming"),
    "larger in tests": dict(test_input_size=(3, 288, 288), crop_pct=0.875, test_crop_pct=1.0),
    "rectangular": dict(input_size=(3, 160, 224), crop_pct=0.9),
    "padded": dict(crop_pct=1.15, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
}


def pictures(work):
    """Pictures without loss, so that only preprocessing can differ, with detail of every scale."""
    generator = np.random.default_rng(3)
    made = {}
    for name, (width, height) in SHAPES.items():
        y, x = np.mgrid[:height, :width]
        waves = [127 + 90 * np.sin(x / (3 + c) + y / 17) * np.cos(y / (5 - c)) for c in range(3)]
        noise = generator.normal(0, 20, (height, width, 3))
        pixels = np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)
        made[name] = work / f"{name}.png"
        Image.fromarray(pixels).save(made[name])
    return made


def ours(checkpoint, picture, work):
    """Normalised pixels and logits of this project."""
    target = work / "preprocessed.safetensors"
    run("target/release/examples/preprocess", checkpoint, picture, target)
    row = json.loads(train_cli("predict", "--checkpoint", checkpoint, "--json", "--logits", picture))
    return load_file(target)["pixel_values"], np.asarray([row["logits"]])


def compare(folder, transform, model, images, work):
    details = []
    for name, picture in images.items():
        pixels, logits = ours(folder, picture, work)
        theirs = transform(Image.open(picture).convert("RGB"))
        # Relative to the largest value: without rescaling they reach 255.
        scale = max(1.0, float(np.abs(theirs.numpy()).max()))
        details.append(f"{name} pixels {close(pixels / scale, theirs.numpy() / scale)}")
        with torch.no_grad():
            expected = model(theirs)
        expected = expected if torch.is_tensor(expected) else expected.logits
        scale = max(1.0, float(expected.abs().max()))
        details.append(f"logits {close(logits / scale, expected.numpy() / scale)}")
    return "; ".join(details)


def by_transformers(name, settings, model, images, work):
    folder = work / "preprocessing" / f"transformers, {name}"
    model.save_pretrained(folder)
    settings = {"image_mean": MEAN, "image_std": STD, **settings}
    # Pillow's arithmetic; that of torchvision differs by a level, and has another filter for `nearest`.
    processor = ConvNextImageProcessorPil(**settings)
    ConvNextImageProcessor(**settings).save_pretrained(folder)
    reread = AutoImageProcessor.from_pretrained(folder, backend="pil")
    assert type(reread) is ConvNextImageProcessorPil, type(reread)

    def transform(image):
        theirs = processor(image, return_tensors="pt")["pixel_values"]
        assert torch.equal(theirs, reread(image, return_tensors="pt")["pixel_values"])
        return theirs.float()

    detail = compare(folder, transform, model, images, work)
    # Out again: transformers does the same with what is written here.
    exported = work / "preprocessing" / f"exported, {name}"
    train_cli("export", "--checkpoint", folder, "--format", "hf", "--out", exported)
    again = AutoImageProcessor.from_pretrained(exported, backend="pil")
    for picture in images.values():
        image = Image.open(picture).convert("RGB")
        theirs = transform(image).numpy()
        scale = max(1.0, float(np.abs(theirs).max()))
        close(again(image, return_tensors="pt")["pixel_values"].numpy() / scale, theirs / scale)
    return detail


def timm_transform(model):
    """What timm's validate.py does."""
    data = timm.data.resolve_model_data_config(model, use_test_size=True)
    transform = timm.data.create_transform(**data, is_training=False)
    return lambda image: transform(image)[None]


def by_timm(name, settings, model, images, work):
    folder = work / "preprocessing" / f"timm, {name}"
    model.pretrained_cfg = {**model.default_cfg, "num_classes": 10, "mean": MEAN, "std": STD, **settings}
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    opened = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    detail = compare(folder, timm_transform(opened), opened, images, work)
    exported = work / "preprocessing" / f"exported from timm, {name}"
    train_cli("export", "--checkpoint", folder, "--format", "timm", "--out", exported)
    again = timm.create_model(f"local-dir:{exported}", pretrained=True).eval()
    for picture in images.values():
        image = Image.open(picture).convert("RGB")
        assert torch.equal(timm_transform(again)(image), timm_transform(opened)(image)), name
    return detail


def check(checks, work, config, randomise):
    """Every setting; `config` and `randomise` make the networks."""
    images = pictures(work)
    model = randomise(ConvNextV2ForImageClassification(config), 5)
    for name, settings in TRANSFORMERS.items():
        checks.check(
            f"transformers' preprocessing: {name}",
            lambda: by_transformers(name, settings, model, images, work),
        )
    model = randomise(timm.create_model("convnextv2_atto", num_classes=10), 6)
    for name, settings in TIMM.items():
        checks.check(f"timm's preprocessing: {name}", lambda: by_timm(name, settings, model, images, work))
