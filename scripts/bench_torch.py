#!/usr/bin/env python3
"""What `train-cli bench` measures, in PyTorch: the other side of scripts/gpu_check.sh.

    python3 scripts/bench_torch.py {pretrain,finetune,infer} [--execution {masked,compact}]
        [--model {atto,base,...}] [--batch N] [--steps S] [--device {cuda,cpu}] [--precision {f32,tf32,bf16}]

One JSON line: images per second from the median timed step after two warm-up steps. On a GPU a timed
step is the mean of ten that are not waited for, as in `train-cli bench`. Masked is the dense simulation
as official pretraining would run without MinkowskiEngine; compact gathers the visible tokens and runs
the depthwise convolution on the dense map. f32 is what PyTorch makes of it by default, with TF32 in
convolutions; tf32 has it in matrix products too; bf16 is torch.autocast. Channels last, fused AdamW.
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

WARM_UP, BURST, IMAGE, PATCH = 2, 10, 224, 32
SIZES = {
    "atto": ([2, 2, 6, 2], [40, 80, 160, 320]),
    "nano": ([2, 2, 8, 2], [80, 160, 320, 640]),
    "tiny": ([3, 3, 9, 3], [96, 192, 384, 768]),
    "base": ([3, 3, 27, 3], [128, 256, 512, 1024]),
    "large": ([3, 3, 27, 3], [192, 384, 768, 1536]),
}


class Grn(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x, keep=None):  # [N, ..., C]
        seen = x if keep is None else x * keep
        g = torch.linalg.vector_norm(seen, dim=tuple(range(1, x.dim() - 1)), keepdim=True)
        return self.gamma * (x * (g / (g.mean(-1, keepdim=True) + 1e-6))) + self.beta + x


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.grn, self.pwconv2 = nn.Linear(dim, 4 * dim), Grn(4 * dim), nn.Linear(4 * dim, dim)

    def branch(self, y, keep=None):
        return self.pwconv2(self.grn(F.gelu(self.pwconv1(self.norm(y))), keep))

    def forward(self, x, keep=None):  # [N, H, W, C]
        y = self.branch(self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), keep)
        return x + (y if keep is None else y * keep)

    def compact(self, x, sites, side):  # [N, V, C], flat sites of the maps
        n, _, dim = x.shape
        plane = x.new_zeros(n * side * side, dim).index_copy(0, sites, x.flatten(0, 1))
        plane = self.dwconv(plane.view(n, side, side, dim).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.branch(plane.reshape(-1, dim).index_select(0, sites).view(n, -1, dim))


class Encoder(nn.Module):
    def __init__(self, depths, dims):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, dims[0], 4, 4), nn.LayerNorm(dims[0], eps=1e-6)
        self.norms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-6) for dim in dims[:-1])
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, 2) for a, b in zip(dims, dims[1:]))
        self.stages = nn.ModuleList(nn.ModuleList(Block(d) for _ in range(n)) for n, d in zip(depths, dims))

    def forward(self, images, visible=None):
        """Dense maps; `visible` [N, 7, 7] holds hidden sites at zero."""
        x = self.stem_norm(self.stem(images).permute(0, 2, 3, 1))
        for i, stage in enumerate(self.stages):
            if i > 0:
                x = self.downs[i - 1](self.norms[i - 1](x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            keep = None
            if visible is not None:
                scale = x.shape[1] // visible.shape[1]
                keep = visible.repeat_interleave(scale, 1).repeat_interleave(scale, 2).unsqueeze(-1)
                x = x * keep
            for block in stage:
                x = block(x, keep)
        return x

    def compact(self, images, index):
        """Tokens [N, V, C] of the visible patches `index` [N, V] only."""
        n, side = images.shape[0], IMAGE // PATCH
        x = images.view(n, 3, side, PATCH, side, PATCH).permute(0, 2, 4, 1, 3, 5).reshape(n, side * side, 3, PATCH, PATCH)
        x = x[torch.arange(n, device=x.device).unsqueeze(1), index]
        visible, grid = index.shape[1], PATCH // 4
        x = x.view(n * visible, 3, PATCH, PATCH).contiguous(memory_format=torch.channels_last)
        x = self.stem_norm(self.stem(x).permute(0, 2, 3, 1))  # [N·V, 8, 8, C]
        for i, stage in enumerate(self.stages):
            if i > 0:
                x = self.downs[i - 1](self.norms[i - 1](x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
                grid //= 2
            width = side * grid
            first = (index // side) * grid * width + (index % side) * grid
            first = first + torch.arange(n, device=x.device).unsqueeze(1) * width * width
            within = torch.arange(grid, device=x.device)
            sites = (first.view(-1, 1, 1) + within.view(-1, 1) * width + within).flatten()
            shape, x = x.shape, x.reshape(n, -1, x.shape[-1])
            for block in stage:
                x = block.compact(x, sites, width)
            x = x.view(shape)
        return x.reshape(n, visible, -1)


class Fcmae(nn.Module):
    def __init__(self, depths, dims, width=512):
        super().__init__()
        self.encoder, self.proj = Encoder(depths, dims), nn.Linear(dims[-1], width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.block, self.pred = Block(width), nn.Linear(width, PATCH * PATCH * 3)

    def forward(self, images, execution):
        n, side = images.shape[0], IMAGE // PATCH
        order = torch.rand(n, side * side, device=images.device).argsort(1)
        index = order[:, : int(side * side * 0.4)].sort(1).values
        visible = torch.zeros(n, side * side, device=images.device).scatter_(1, index, 1.0)
        if execution == "compact":
            tokens = self.proj(self.encoder.compact(images, index))
            rows = torch.arange(n, device=images.device).unsqueeze(1)
            x = self.mask_token.to(tokens.dtype).expand(n, side * side, -1).index_put((rows, index), tokens)
        else:
            x = self.proj(self.encoder(images, visible.view(n, side, side))).flatten(1, 2)
            x = torch.where(visible.unsqueeze(-1) > 0, x, self.mask_token.to(x.dtype))
        pred = self.pred(self.block(x.view(n, side, side, -1))).flatten(1, 2)
        target = images.view(n, 3, side, PATCH, side, PATCH).permute(0, 2, 4, 3, 5, 1).reshape(n, side * side, -1)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        loss = (pred.float() - target).square().mean(-1)
        hidden = 1.0 - visible
        return (loss * hidden).sum() / hidden.sum()


class Classifier(nn.Module):
    def __init__(self, depths, dims):
        super().__init__()
        self.encoder, self.norm = Encoder(depths, dims), nn.LayerNorm(dims[-1], eps=1e-6)
        self.head = nn.Linear(dims[-1], 1000)

    def forward(self, images, labels=None):
        logits = self.head(self.norm(self.encoder(images).mean((1, 2))))
        return logits if labels is None else F.cross_entropy(logits, labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["pretrain", "finetune", "infer"])
    parser.add_argument("--execution", choices=["masked", "compact"], default="masked")
    parser.add_argument("--model", choices=SIZES, default="atto")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--precision", choices=["f32", "tf32", "bf16"], default="f32")
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = options.precision == "tf32"
    device, on_gpu = options.device, options.device == "cuda"
    network = (Fcmae if options.kind == "pretrain" else Classifier)(*SIZES[options.model])
    for parameter in network.parameters():
        nn.init.trunc_normal_(parameter, std=0.02)
    network = network.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, weight_decay=0.05, betas=(0.9, 0.95), fused=on_gpu)
    images = torch.randn(options.batch, 3, IMAGE, IMAGE, device=device)
    labels = torch.randint(0, 1000, (options.batch,), device=device)
    dense = images.contiguous(memory_format=torch.channels_last)

    def infer():
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=options.precision == "bf16"):
            network(dense)

    def train():
        optimizer.zero_grad()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=options.precision == "bf16"):
            if options.kind == "finetune":
                loss = network(dense, labels)
            else:
                loss = network(images, options.execution)
        loss.backward()
        optimizer.step()

    step = infer if options.kind == "infer" else train

    def timed():
        start, count = time.perf_counter(), BURST if on_gpu else 1
        for _ in range(count):
            step()
        if on_gpu:
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / count

    for _ in range(WARM_UP):
        timed()
    times = [timed() for _ in range(options.steps)]
    line = {"engine": f"torch {torch.__version__}", "bench": options.kind, "model": options.model}
    line |= {"execution": options.execution if options.kind == "pretrain" else None, "batch": options.batch}
    line |= {"device": device, "precision": options.precision, "step_s": times}
    line["img_per_s"] = options.batch / statistics.median(times)
    if on_gpu:
        line["gpu_peak_allocated_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
