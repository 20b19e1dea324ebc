"""Writes model.pt: a network for handwritten digits, scripted and not trained, for the example
`torchscript` to train. Or reads what the example has made of it.

    python model.py                   # PyTorch 2.11; writes beside this file
    python model.py --side 28 --to mnist.pt
    python model.py --check DIR       # safetensors as well; prints `ok`, or what is wrong
"""

import argparse
import os
import pathlib
import sys
import zipfile

import torch
from torch import nn


class Network(nn.Module):
    """Two convolutions with batch norm, each followed by a max-pooling that halves the side, and a dense
    layer with dropout: 6,186 parameters for images of 8 by 8 pixels."""

    def __init__(self, side: int = 8):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(32)
        self.dropout = nn.Dropout(0.25)
        self.output = nn.Linear(32 * (side // 4) ** 2, 10)

    def forward(self, images):
        """Images of shape [batch, side, side] to logits of shape [batch, 10]."""
        x = images.unsqueeze(1)
        x = nn.functional.max_pool2d(self.norm1(self.conv1(x)).relu(), 2)
        x = nn.functional.max_pool2d(self.norm2(self.conv2(x)).relu(), 2)
        return self.output(self.dropout(x.flatten(1)))


def write(side, path):
    torch.manual_seed(7)
    network = Network(side)
    torch.jit.script(network).save(path)
    drop_sources(path)
    network.eval()
    scripted, images = torch.jit.load(path).eval(), torch.rand(4, side, side)
    with torch.no_grad():
        torch.testing.assert_close(scripted(images), network(images), rtol=0, atol=1e-6)
    print(f"{path}: {os.path.getsize(path)} bytes, {sum(p.numel() for p in network.parameters())} parameters")


def drop_sources(path):
    """Rewrites the archive without the Python lines behind the code, and the paths they lay at here. Keep
    them where an error should name the line of Python: this is for a file that is passed on."""
    with zipfile.ZipFile(path) as archive:
        kept = [(i, archive.read(i)) for i in archive.infolist() if not i.filename.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in kept:
            archive.writestr(info, data)


def check(folder):
    from safetensors.torch import load_file

    io = load_file(folder / "logits.safetensors")
    torch.set_num_threads(int(io["threads"]))
    network = Network(io["images"].shape[-1])
    network.load_state_dict(load_file(folder / "trained.safetensors"), strict=True)
    # Saved in evaluation mode.
    scripted = torch.jit.load(folder / "trained.pt")
    for name, module in [("trained.safetensors", network.eval()), ("trained.pt", scripted)]:
        with torch.no_grad():
            apart = (module(io["images"]) - io["logits"]).abs().max().item()
        print(f"{name}: logits of {len(io['images'])} images at most {apart} apart")
        # Not `apart > 1e-6`, which a NaN would pass.
        if not apart <= 1e-6:
            sys.exit(f"the logits of {name} are {apart} apart")
    print("ok")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=8)
    parser.add_argument("--to", default=str(pathlib.Path(__file__).with_name("model.pt")))
    parser.add_argument("--check", type=pathlib.Path)
    args = parser.parse_args()
    if args.check:
        check(args.check)
    else:
        write(args.side, args.to)
