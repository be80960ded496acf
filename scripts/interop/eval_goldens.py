"""Writes the pixels that timm and transformers make of two images, for the tests of crate data:
crates/data/tests/goldens/eval/NAME.png, and settings.json with the [eval] section of each.

.venv-interop/torch/bin/python scripts/interop/eval_goldens.py
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

GOLDENS = Path("crates/data/tests/goldens")
TARGET = GOLDENS / "eval"
MEAN = [0.485, 0.456, 0.406]
RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}

# Name: source, size, crop_pct, crop_mode, interpolation.
SETTINGS = {
    "center_bicubic": ("source", 48, 0.875, "center", "bicubic"),
    "center_bilinear": ("portrait", 48, 0.95, "center", "bilinear"),
    "center_lanczos": ("source", 61, 0.9, "center", "lanczos"),
    "center_box": ("portrait", 33, 0.7, "center", "box"),
    "center_hamming": ("source", 40, 1.0, "center", "hamming"),
    "center_nearest": ("portrait", 41, 0.9, "center", "nearest"),
    "center_enlarged": ("portrait", 150, 0.8, "center", "lanczos"),
    "center_rectangle": ("source", [40, 56], 0.9, "center", "bicubic"),
    "center_padded": ("source", 48, 1.15, "center", "bicubic"),
    "squash_whole": ("source", 48, 1.0, "squash", "bicubic"),
    "squash_cropped": ("portrait", [45, 52], 0.85, "squash", "bilinear"),
    "border_whole": ("source", 48, 1.0, "border", "bicubic"),
    "border_cropped": ("portrait", [50, 31], 0.9, "border", "bilinear"),
    "truncated_bicubic": ("source", 48, 0.875, "center_truncated", "bicubic"),
    "truncated_bilinear": ("portrait", 47, 0.9, "center_truncated", "bilinear"),
    "truncated_lanczos": ("portrait", 60, 0.96, "center_truncated", "lanczos"),
}


def by_timm(image, size, crop_pct, crop_mode, interpolation):
    transform = transforms_imagenet_eval(
        size, crop_pct=crop_pct, crop_mode=crop_mode, interpolation=interpolation, mean=MEAN, normalize=False
    )
    return transform(image).numpy().transpose(1, 2, 0)


def by_transformers(image, size, crop_pct, interpolation):
    processor = ConvNextImageProcessorPil(
        size={"shortest_edge": size}, crop_pct=crop_pct, resample=RESAMPLE[interpolation],
        do_rescale=False, do_normalize=False,
    )
    return processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)


def main():
    TARGET.mkdir(exist_ok=True)
    settings = {}
    for name, (source, size, crop_pct, crop_mode, interpolation) in SETTINGS.items():
        image = Image.open(GOLDENS / f"{source}.png").convert("RGB")
        if crop_mode == "center_truncated":
            pixels = by_transformers(image, size, crop_pct, interpolation)
        else:
            pixels = by_timm(image, size, crop_pct, crop_mode, interpolation)
        Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(TARGET / f"{name}.png")
        eval = dict(size=size, crop_pct=crop_pct, crop_mode=crop_mode, interpolation=interpolation, mean=MEAN)
        settings[name] = dict(source=source, eval=eval)
    (TARGET / "settings.json").write_text(json.dumps(settings, indent=1) + "\n")


if __name__ == "__main__":
    main()
