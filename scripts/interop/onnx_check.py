#!/usr/bin/env python3
"""Compares an ONNX file with the outputs of the network that it was written from.

    onnx_check.py MODEL.onnx TENSORS.safetensors [--bench]

The tensors are `input` and one for each output of the model (`logits`, or `last_hidden_state` and
`pooler_output`), as `cargo run -p interop --example onnx_fixture` writes them. Needs onnx,
onnxruntime and safetensors.
"""

import argparse
import sys
import time

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

TOLERANCE = 1e-4


def compare(session: onnxruntime.InferenceSession, tensors: dict[str, np.ndarray], batch: int) -> bool:
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(names, {"pixel_values": tensors["input"][:batch]})
    agree = True
    for name, found in zip(names, outputs):
        expected = tensors[name][:batch]
        if found.shape != expected.shape:
            print(f"{name}, batch {batch}: shape {found.shape}, expected {expected.shape}")
            agree = False
            continue
        error = float(np.abs(found - expected).max())
        largest = float(np.abs(expected).max())
        print(f"{name}, batch {batch}: largest difference {error:.2e} of values up to {largest:.2f}")
        agree = agree and error < TOLERANCE
    return agree


def bench(session: onnxruntime.InferenceSession, images: np.ndarray) -> None:
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        session.run(None, {"pixel_values": images})
        best = min(best, time.perf_counter() - start)
    print(f"{len(images) / best:.1f} img/s at batch {len(images)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("tensors")
    parser.add_argument("--bench", action="store_true", help="also measure the speed")
    args = parser.parse_args()

    # By path, because models with external data are too large to check in memory.
    onnx.checker.check_model(args.model, full_check=True)
    session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
    tensors = load_file(args.tensors)
    agree = all([compare(session, tensors, batch) for batch in (1, len(tensors["input"]))])
    if args.bench:
        bench(session, tensors["input"])
    print("agrees" if agree else f"DIFFERS by more than {TOLERANCE}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
