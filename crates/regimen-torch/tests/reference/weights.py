"""Writes weights.safetensors, a state dict of PyTorch's, and weights_io.safetensors, its model's
outputs for some inputs; or reads both as written by Rust.

    python weights.py                          # PyTorch 2.11, safetensors
    python weights.py --check WEIGHTS IO       # prints `ok`, or what is wrong

The layers have the names that ../weights.rs gives them.
"""

import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.embedding = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 8, num_layers=2, bidirectional=True, batch_first=True)
        self.layer_norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 3)

    def forward(self, images, tokens):
        seen = self.norm(self.conv(images)).relu().mean(-1).flatten(1)
        read, _ = self.lstm(self.embedding(tokens))
        return self.head(self.layer_norm(torch.cat([seen, read.mean(1)], 1)))


def batch():
    return torch.randn(8, 1, 6, 6), torch.randint(11, (8, 5))


def write(folder):
    torch.manual_seed(0)
    network = Network()
    # A few steps, so that no running mean is 0 and no running variance 1.
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(*batch()), torch.randint(3, (8,))).backward()
        optimizer.step()
    network.eval()
    images, tokens = batch()
    with torch.no_grad():
        logits = network(images, tokens)
    save_file(network.state_dict(), folder / "weights.safetensors")
    io = {"images": images, "tokens": tokens, "logits": logits}
    save_file(io, folder / "weights_io.safetensors")


def check(weights, io):
    network, io = Network(), load_file(io)
    network.load_state_dict(load_file(weights), strict=True)
    network.eval()
    with torch.no_grad():
        logits = network(io["images"], io["tokens"])
    apart = ((logits - io["logits"]).abs().max() / logits.abs().max()).item()
    # Not `apart > 1e-6`, which a NaN would pass.
    if not apart <= 1e-6:
        sys.exit(f"the logits are {apart} apart")
    print("ok")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--check"]:
        check(*sys.argv[2:])
    else:
        write(pathlib.Path(__file__).parent)
