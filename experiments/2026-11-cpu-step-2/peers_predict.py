"""Classes of a folder of images, end to end, as a user of transformers or timm finds them.

    python peers_predict.py save CHECKPOINT                  # a random ConvNeXt V2 Atto with its image processor
    python peers_predict.py measure CHECKPOINT IMAGES        # every peer, each in a process of its own

One JSON line a measure: images per second from the list of files to the last class, after one pass over some
of them that does not count. Importing the libraries and loading the network do not count either.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

MEASURES = {
    "transformers_w0": lambda options: transformers_pipeline(options, workers=0),
    "transformers_w2": lambda options: transformers_pipeline(options, workers=2),
    "timm_w2": lambda options: timm_inference(options, workers=2),
}
WARM_UP = 64


def save(folder):
    import torch
    from transformers import ConvNextImageProcessor, ConvNextV2Config, ConvNextV2ForImageClassification

    torch.manual_seed(0)
    config = ConvNextV2Config(depths=[2, 2, 6, 2], hidden_sizes=[40, 80, 160, 320], num_labels=1000)
    network = ConvNextV2ForImageClassification(config)
    # GRN starts as the identity; a trained network does not stay there.
    for name, parameter in network.named_parameters():
        if ".grn." in name:
            torch.nn.init.normal_(parameter, std=0.02)
    network.save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875).save_pretrained(folder)


def timed(predict, files):
    """Images per second of a function from files to classes."""
    predict(files[:WARM_UP])
    start = time.perf_counter()
    classes = predict(files)
    seconds = time.perf_counter() - start
    assert len(classes) == len(files)
    return {"images": len(files), "img_per_s": round(len(files) / seconds, 2)}


def transformers_pipeline(options, workers):
    """The pipeline for image classification."""
    from transformers import pipeline

    classify = pipeline("image-classification", model=str(options.checkpoint), device="cpu")
    return lambda files: classify(files, batch_size=options.batch, num_workers=workers, top_k=1)


def timm_inference(options, workers):
    """What timm's inference.py does: a loader with its transform for evaluation, channels last, top 1."""
    import timm
    import torch
    from timm.data import ImageDataset, create_loader, resolve_data_config

    network = timm.create_model("convnextv2_atto", pretrained=False).eval().to(memory_format=torch.channels_last)
    config = resolve_data_config({"crop_pct": 0.875}, model=network)

    def predict(files):
        loader = create_loader(
            ImageDataset(str(files[0].parent), reader=Files(files)),
            batch_size=options.batch, use_prefetcher=False, num_workers=workers, **config,
        )
        classes = []
        with torch.inference_mode():
            for images, _ in loader:
                logits = network(images.contiguous(memory_format=torch.channels_last))
                classes.extend(logits.softmax(-1).topk(1).indices.flatten().tolist())
        return classes

    return predict


class Files(list):
    """Files as timm's readers have them."""

    def __getitem__(self, index):
        return open(super().__getitem__(index), "rb"), 0


def measure(options):
    import torch

    torch.set_num_threads(options.threads)
    files = sorted(path for path in options.images.rglob("*.jpg"))
    predict = MEASURES[options.only](options)
    if options.only.startswith("transformers"):
        files = [str(path) for path in files]
    row = {"measure": options.only, "threads": options.threads, "batch_size": options.batch}
    print(json.dumps(row | timed(predict, files)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("save").add_argument("checkpoint", type=Path)
    measured = commands.add_parser("measure")
    measured.add_argument("checkpoint", type=Path)
    measured.add_argument("images", type=Path)
    measured.add_argument("--threads", type=int, default=2)
    measured.add_argument("--batch", type=int, default=16)
    measured.add_argument("--only", choices=MEASURES)
    options = parser.parse_args()
    if options.command == "save":
        save(options.checkpoint)
    elif options.only:
        measure(options)
    else:
        for name in MEASURES:
            subprocess.run([sys.executable, *sys.argv, "--only", name], check=True)


if __name__ == "__main__":
    main()
