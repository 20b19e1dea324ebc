"""The averages that TorchTNT's AveragedModel makes of a weight.

    python averages.py > averages.csv

A line is an average: the method, the weight, and the average after it. TorchTNT 0.2.4, in double
precision.
"""

import math

import torch
from torchtnt.utils.swa import AveragedModel

METHODS = {
    "ema": dict(averaging_method="ema", ema_decay=0.9),
    "ramp": dict(averaging_method="ema", ema_decay=0.9, use_lit=True),
    "swa": dict(averaging_method="swa"),
}

print("method,weight,average")
for name, settings in METHODS.items():
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    averaged = AveragedModel(model, **settings)
    for update in range(120):
        weight = 1 + update / 10 + math.sin(update)
        model.weight.data.fill_(weight)
        averaged.update_parameters(model)
        print(f"{name},{weight!r},{averaged.module.weight.item()!r}")
