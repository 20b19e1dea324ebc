"""What PyTorch's GradScaler makes of updates of which some overflow.

    python scaler.py > scaler.csv

A line is an update: whether its gradient overflows, then the scale and the growth tracker after it.
PyTorch 2.11.
"""

import random

import torch

random.seed(7)
weight = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_factor=3.0, backoff_factor=0.25, growth_interval=4)
print("overflows,scale,tracker")
for update in range(120):
    # Long runs of overflows, and long runs without.
    overflows = random.random() < (0.7 if update % 30 < 6 else 0.1 if update % 30 < 18 else 0.0)
    optimizer.zero_grad()
    scaler.scale(weight * weight).backward()
    if overflows:
        weight.grad.mul_(float("inf"))
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    print(f"{int(overflows)},{scaler.get_scale()!r},{scaler._get_growth_tracker()}")
