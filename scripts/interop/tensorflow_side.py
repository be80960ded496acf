"""The TensorFlow twins that transformers had until 4.x, on what the other side exported."""

import sys
from pathlib import Path

import tensorflow as tf
from safetensors.numpy import load_file
from transformers import TFConvNextV2ForImageClassification, TFConvNextV2Model

from checks import Checks, close


def main():
    work = Path(sys.argv[1])
    checks = Checks(work / "tensorflow.results")
    cases = sorted(path.parent.name for path in work.glob("*/expected.safetensors"))
    assert cases, "the other side left nothing to compare with"
    for case in cases:
        expected = load_file(work / case / "expected.safetensors")
        folder, pixels = work / case / "exported_hf", tf.constant(expected["pixel_values"])

        def logits():
            model = TFConvNextV2ForImageClassification.from_pretrained(folder)
            return close(expected["logits"], model(pixels, training=False).logits)

        def features():
            model = TFConvNextV2Model.from_pretrained(folder)
            found = model(pixels, training=False)
            close(expected["last_hidden_state"], found.last_hidden_state)
            return close(expected["pooler_output"], found.pooler_output)

        checks.check(f"{case}: TFConvNextV2ForImageClassification.call", logits)
        checks.check(f"{case}: TFConvNextV2Model.call", features)
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
