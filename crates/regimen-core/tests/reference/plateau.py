"""The learning rates that PyTorch's ReduceLROnPlateau makes of a metric.

    python plateau.py > plateau.csv

A line is a check: the settings' number, the metric, and the rate after it. PyTorch 2.11.
"""

import math
import random

import torch

SETTINGS = [
    dict(mode="min"),
    dict(mode="min", factor=0.5, patience=2, cooldown=3, min_lr=1e-3),
    dict(mode="max", factor=0.3, patience=0, threshold=0.05),
    dict(mode="max", factor=0.5, patience=1, threshold=0.02, threshold_mode="abs", cooldown=1),
]

random.seed(7)
print("settings,metric,rate")
for number, settings in enumerate(SETTINGS):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, eps=0.0, **settings)
    for check in range(60):
        level = math.exp(-check / 10) if settings["mode"] == "min" else 1 - math.exp(-check / 10)
        metric = level + random.uniform(0, 0.1)
        metric = math.nan if check == 20 else metric
        plateau.step(metric)
        print(f"{number},{metric!r},{optimizer.param_groups[0]['lr']!r}")
