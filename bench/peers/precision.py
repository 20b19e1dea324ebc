"""A training step of PyTorch in one precision, for `cargo xtask bench precision --peers`.

Takes the arguments of the programs `precision` and `precision-torch`, and prints the same: the median step
time in milliseconds, and the peak memory in MiB above the initial memory. The networks are those of
`engines.py`, with a fused Adam.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from networks import MODELS, RATE, WARM_UP

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Recomputed(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x):
        return checkpoint(self.block, x, use_reentrant=False)


def recompute(model, network):
    """The blocks of the Rust programs: hidden layers, convolutions, transformer layers."""
    if model == "mlp":
        layers = network.layers
        network.layers = nn.Sequential(Recomputed(*layers[:2]), Recomputed(*layers[2:4]), layers[4])
    elif model == "cnn":
        layers = network.layers
        network.layers = nn.Sequential(layers[0], Recomputed(*layers[1:6]), *layers[6:])
    else:
        network.blocks = nn.Sequential(*map(Recomputed, network.blocks))


def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("batch", type=int)
    parser.add_argument("precision", choices=["fp32", "tf32", *HALVES])
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--checkpoint", action="store_true")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    torch.manual_seed(7)
    tf32 = args.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    device = torch.device(args.device)
    make, data, _ = MODELS[args.model]
    network = make()
    if args.checkpoint:
        recompute(args.model, network)
    network.to(device)
    batch = [tensor.to(device) for tensor in data(args.batch)]
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
    half = HALVES.get(args.precision)
    scaler = torch.amp.GradScaler(device.type, enabled=half == torch.float16)

    def step():
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            loss = network(batch)
        # Like the unit, which reads every loss.
        loss.item()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    # Resets the peak.
    Path("/proc/self/clear_refs").write_text("5")
    before, ends = memory("VmRSS:"), []
    for _ in range(WARM_UP + args.steps):
        step()
        ends.append(time.perf_counter())
    times = sorted(end - begun for begun, end in zip(ends[WARM_UP - 1 :], ends[WARM_UP:]))
    above = memory("VmHWM:") - before if device.type == "cpu" else float("nan")
    print(times[len(times) // 2] * 1e3, above)


if __name__ == "__main__":
    main()
