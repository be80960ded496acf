#!/usr/bin/env python3
"""Writes the small PyTorch files of crates/interop/tests/goldens/pickles.

    pickle_cases.py FOLDER

Each holds the tensor `weight` = 0…5, `[2, 3]`, beside something that no tensor needs; three hold a
network of one block and one channel, whose weights are all 0.5, and of which averages are all 0.25.
Made with torch 2.15.0.
"""

import collections
import datetime
import enum
import pathlib
import sys
import types

import numpy as np
import torch
from torch import nn

WEIGHT = torch.arange(6.0).reshape(2, 3)


def foreign(module, name, base=object):
    """A class of a library that need not be there."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:count]), types.ModuleType(parts[-1]))
    created = type(name, (base,), {"__module__": module})
    setattr(sys.modules[module], name, created)
    return created


def network(value, prefix=""):
    """transformers' names of one block of one channel, and two classes."""
    body, block = "convnextv2.", "convnextv2.encoder.stages.0.layers.0."
    shapes = {body + "embeddings.patch_embeddings": (1, 1, 1, 1), block + "dwconv": (1, 1, 7, 7)}
    shapes |= {block + "pwconv1": (4, 1), block + "pwconv2": (1, 4), "classifier": (2, 1)}
    norms = [body + "embeddings.layernorm", body + "layernorm", block + "layernorm"]
    tensors = {name: shape for layer, shape in shapes.items() for name, shape in both(layer, shape)}
    tensors |= {f"{norm}.{leaf}": (1,) for norm in norms for leaf in ("weight", "bias")}
    tensors |= {f"{block}grn.{leaf}": (1, 1, 1, 4) for leaf in ("weight", "bias")}
    return collections.OrderedDict(
        (prefix + name, torch.full(shape, value)) for name, shape in sorted(tensors.items())
    )


def both(layer, shape):
    return [(f"{layer}.weight", shape), (f"{layer}.bias", shape[:1])]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2, bias=False)
        self.inner.weight.data = WEIGHT.clone()


def main():
    folder = pathlib.Path(sys.argv[1])
    save = lambda name, value, **more: torch.save(value, folder / f"{name}.pth", **more)
    model = collections.OrderedDict(weight=WEIGHT)

    windows = foreign("pathlib._local", "WindowsPath", str)
    windows.__reduce__ = lambda path: (windows, ("C:\\", "runs", str(path)))
    save("windows_path", {"model": model, "args": {"output_dir": windows("a")}})
    moments = [datetime.datetime(2026, 1, 2, 3, 4, 5), datetime.timedelta(1)]
    save("datetime", {"model": model, "when": moments, "seed": 1 << 80, "acc": np.float64(0.5)})
    attributes = foreign("lightning.fabric.utilities.data", "AttributeDict", dict)
    counts = collections.defaultdict(list, a=[1.0], b=[])
    save("attribute_dict", attributes(hyper_parameters=attributes(lr=0.1), model=model, counts=counts))
    colour = enum.Enum("Colour", "RED", module=foreign("project.colours", "Colour").__module__)
    setattr(sys.modules["project.colours"], "Colour", colour)
    holder = foreign("project.ema", "Average")()
    holder.shadow = {"weight": torch.zeros(2, 3)}
    keyed = {colour.RED: 1, None: 2, (1, 2): 3, int: 4}
    queue = collections.deque([1, 2], maxlen=2)
    save("unknown_classes", {"average": holder, "keyed": keyed, "queue": queue, "model": model})
    state = {"state": {0: {"exp_avg": torch.ones(2, 3), "step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}
    states = {"optimizer": state, "rng": torch.get_rng_state()[:8].clone(), "best": torch.tensor(0.5)}
    save("training_state", {**states, "epoch": 3, "model": {**model, "mask": torch.ones(2, dtype=torch.bool)}})
    strided = torch.arange(12.0).reshape(3, 4)[:, ::2].T  # The values 0, 2, 4, … by columns.
    save("strided", {"model": {"weight": strided, "half": WEIGHT.half(), "brain": WEIGHT.bfloat16()}})
    save("before_1_6", {"model": model, "other": torch.ones(1)}, _use_new_zipfile_serialization=False)
    save("protocol_5", {"model": model, "where": pathlib.PurePosixPath("a")}, pickle_protocol=5)
    quantized = torch.quantize_per_tensor(WEIGHT, 0.1, 0, torch.qint8)
    save("quantized", {"model": {"weight": quantized, "bias": torch.ones(2)}})
    sys.modules["project.colours"].Net = Net
    Net.__module__ = "project.colours"
    save("whole_module", Net())

    lightning = network(0.5, "model.") | network(0.25, "model_ema.module.")
    callbacks = {"ModelCheckpoint{'monitor': 'acc'}": {"best_model_score": torch.tensor(0.5)}}
    loops = {"fit_loop": {"state_dict": {}}}
    hyper = {"hparams_name": "kwargs", "hyper_parameters": attributes(lr=0.1)}
    versions = {"pytorch-lightning_version": "2.6.0", "epoch": 3, "global_step": 10}
    content = {**versions, "state_dict": lightning, "loops": loops, "callbacks": callbacks, **hyper}
    save("lightning", content)
    save("timm_training", {"state_dict": network(0.5, "module."), "state_dict_ema": network(0.25), "epoch": 3})
    averaged = {"n_averaged": torch.tensor(3)} | network(0.25, "module.")
    save("averaged", averaged)


if __name__ == "__main__":
    main()
