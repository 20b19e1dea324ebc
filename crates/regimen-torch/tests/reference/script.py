"""Writes the modules in script/, and io.safetensors, the logits of network.pt's eager model for some
images; or reads weights, a script and logits as written by Rust.

    python script.py                                   # PyTorch 2.11, safetensors
    python script.py --check WEIGHTS SCRIPT IO         # prints `ok`, or what is wrong
"""

import pathlib
import sys
import zipfile

import torch
from safetensors.torch import load_file, save_file
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.gate = nn.Linear(16, 16)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(16, 3)
        self.scale = nn.Parameter(torch.full((), 2.0), requires_grad=False)
        # Gets a new tensor in each step, as people write it, in place of new values.
        self.register_buffer("mean", torch.zeros(16))

    def forward(self, images):
        x = nn.functional.max_pool2d(self.norm(self.conv(images)).relu(), 2).flatten(1)
        # Its gradients are those that the optimizing executor gives other bits.
        x = torch.sigmoid(self.gate(x)) * torch.tanh(x)
        shifted = self.dropout(x - self.mean * x)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0).detach()
        return self.head(shifted) * self.scale

    @torch.jit.export
    def ends(self, images, factor: float = 1.0):
        if images.size(0) > 8:
            raise ValueError("too many images")
        logits = self.forward(images) * factor
        return logits.max(), [logits.min(), logits.mean()]

    @torch.jit.export
    def shape(self, images):
        return images.shape


class Grows(nn.Module):
    """Its buffer has another shape after each step."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.seen = torch.cat([self.seen, x.sum().detach().unsqueeze(0)])
        return x * self.weight


class Assigns(nn.Module):
    """It trains without an optimizer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x):
        self.weight = self.weight + 1
        return x * self.weight


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.second = nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))


def save(module, path):
    """Without the Python lines behind the code, and the paths they lay at here."""
    module.save(path)
    with zipfile.ZipFile(path) as archive:
        kept = [(i, archive.read(i)) for i in archive.infolist() if not i.filename.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in kept:
            archive.writestr(info, data)


def write(folder):
    torch.manual_seed(0)
    network = Network()
    # A few steps, so that no buffer is as it began.
    for _ in range(3):
        network(torch.randn(8, 1, 4, 4))
    save(torch.jit.script(network), folder / "network.pt")
    network.eval()
    images = torch.randn(8, 1, 4, 4)
    with torch.no_grad():
        save_file({"images": images, "logits": network(images)}, folder / "io.safetensors")
    save(torch.jit.freeze(torch.jit.script(nn.Linear(2, 2).eval())), folder / "frozen.pt")
    for module in [Grows(), Assigns(), Tied()]:
        save(torch.jit.script(module), folder / f"{type(module).__name__.lower()}.pt")


def check(weights, script, io):
    network, io = Network(), load_file(io)
    network.load_state_dict(load_file(weights), strict=True)
    for module in [network.eval(), torch.jit.load(script)]:
        with torch.no_grad():
            logits = module(io["images"])
        apart = (logits - io["logits"]).abs().max().item()
        # Not `apart > 1e-6`, which a NaN would pass.
        if not apart <= 1e-6:
            sys.exit(f"the logits are {apart} apart")
    print("ok")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--check"]:
        check(*sys.argv[2:])
    else:
        write(pathlib.Path(__file__).with_name("script"))
