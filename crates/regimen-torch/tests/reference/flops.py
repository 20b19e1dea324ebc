"""Prints the operations of networks as PyTorch counts them, for `tests/costs.rs`.

Forward and backward, in multiply-accumulates: half of what PyTorch's `FlopCounterMode` counts, and the counts of
TorchTNT's `FlopTensorDispatchMode`, if it is installed. Both count a convolution in groups as `groups` times what it
computes for the gradient of its weight, so it is here one convolution per group. Neither counts fused attention on the
CPU, so it is added here.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

try:
    from torchtnt.utils.flops import FlopTensorDispatchMode
except ImportError:
    FlopTensorDispatchMode = None


class Grouped(nn.Module):
    """A convolution in two groups, as two convolutions."""

    def __init__(self, *args, **kwargs):
        super().__init__()
        self.halves = nn.ModuleList([nn.Conv2d(*args, **kwargs) for _ in range(2)])

    def forward(self, x):
        return torch.cat([half(part) for half, part in zip(self.halves, x.chunk(2, 1))], 1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x):
        heads = lambda y: y.view(2, -1, 4, 2).transpose(1, 2)
        y = F.scaled_dot_product_attention(heads(self.q(x)), heads(self.k(x)), heads(self.v(x)))
        return self.out(y.transpose(1, 2).reshape(2, -1, 8))


class Products(nn.Module):
    """The same without a fused kernel."""

    def __init__(self):
        super().__init__()
        self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return (self.q(x) @ self.k(x).transpose(1, 2)).softmax(-1) @ x


def check(name, network, *shape):
    x = torch.randn(shape)
    counts = []
    for step in ("forward", "backward"):
        with FlopCounterMode(display=False) as mode:
            if step == "forward":
                loss = network(x).sum()
            else:
                loss.backward()
        counts.append(mode.get_total_flops() // 2)
    print(name, *counts)
    if FlopTensorDispatchMode is not None:
        with FlopTensorDispatchMode(network) as mode:
            loss = network(x).sum()
            forward = sum(mode.flop_counts[""].values())
            mode.reset()
            loss.backward()
            print("   TorchTNT", forward, sum(mode.flop_counts[""].values()))


check("linear", nn.Sequential(nn.Linear(10, 70), nn.Linear(70, 5), nn.Linear(5, 1)), 1, 10)
check("linear of three dimensions", nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3, bias=False)), 2, 5, 4)
check("convolution", nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 4, 3)), 2, 3, 9, 11)
check("groups", nn.Sequential(nn.Conv2d(2, 4, 3), Grouped(2, 3, 3, stride=2, padding=1)), 2, 2, 9, 11)
check("one dimension", nn.Sequential(nn.Conv1d(2, 3, 3), nn.Conv1d(3, 2, 5, dilation=2)), 4, 2, 20)
check("three dimensions", nn.Sequential(nn.Conv3d(1, 2, 3), nn.Conv3d(2, 3, 2)), 2, 1, 5, 6, 7)
check("transposed", nn.Sequential(nn.Conv2d(2, 3, 3), nn.ConvTranspose2d(3, 2, 3, stride=2)), 2, 2, 6, 7)
check("attention", Attention(), 2, 5, 8)
heads = 2, 4, 5, 2
print("   and", sdpa_flop_count(heads, heads, heads) // 2, sdpa_backward_flop_count(heads, heads, heads, heads) // 2)
check("products", Products(), 2, 5, 8)
