"""Writes schedules.csv: the learning rates of PyTorch's schedulers, count by count.

Run with PyTorch 2.11 as `python schedules.py > schedules.csv`. Each case runs the scheduler
itself, step by step; the names are those of the cases in ../schedule.rs.
"""

import warnings

import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    SequentialLR,
    StepLR,
)

from torch.optim.swa_utils import SWALR

warnings.filterwarnings("ignore")


def warm_up(optimizer, length, after):
    ramp = LinearLR(optimizer, start_factor=1 / (length + 1), total_iters=length)
    return SequentialLR(optimizer, [ramp, after], milestones=[length])


class Swa:
    """Steps another scheduler, and from a start on the one of averages in its place, as TorchTNT does."""

    def __init__(self, optimizer, before, start, **settings):
        self.before, self.after, self.start, self.steps = before, SWALR(optimizer, **settings), start, 0

    def step(self):
        (self.before if self.steps < self.start else self.after).step()
        self.steps += 1


CASES = {
    "constant": lambda o: ConstantLR(o, factor=1.0),
    "step": lambda o: StepLR(o, step_size=7, gamma=0.3),
    "multi_step": lambda o: MultiStepLR(o, milestones=[3, 11, 11, 20], gamma=0.5),
    "exponential": lambda o: ExponentialLR(o, gamma=0.9),
    "linear_down": lambda o: LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=20),
    "linear_up": lambda o: LinearLR(o, start_factor=0.25, end_factor=1.0, total_iters=9),
    "cosine": lambda o: CosineAnnealingLR(o, T_max=30),
    "cosine_minimum": lambda o: CosineAnnealingLR(o, T_max=30, eta_min=0.002),
    "polynomial": lambda o: PolynomialLR(o, total_iters=24, power=2.0),
    "polynomial_line": lambda o: PolynomialLR(o, total_iters=24, power=1.0),
    "warm_up_cosine": lambda o: warm_up(o, 6, CosineAnnealingLR(o, T_max=24, eta_min=0.001)),
    "warm_up_step": lambda o: warm_up(o, 5, StepLR(o, step_size=4, gamma=0.5)),
    "one_cycle": lambda o: OneCycleLR(o, max_lr=0.1, total_steps=31),
    "one_cycle_linear": lambda o: OneCycleLR(o, max_lr=0.1, total_steps=31, anneal_strategy="linear"),
    "one_cycle_settings": lambda o: OneCycleLR(
        o, max_lr=0.1, total_steps=31, pct_start=0.45, div_factor=10.0, final_div_factor=100.0
    ),
    "anneal_to": lambda o: Swa(o, ExponentialLR(o, gamma=0.9), 10, swa_lr=0.05, anneal_epochs=8),
    "anneal_to_linear": lambda o: Swa(
        o, ExponentialLR(o, gamma=0.9), 10, swa_lr=0.05, anneal_epochs=8, anneal_strategy="linear"
    ),
}

print("schedule,count,rate")
for name, scheduler_of in CASES.items():
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = scheduler_of(optimizer)
    for count in range(31):
        print(f"{name},{count},{optimizer.param_groups[0]['lr']!r}")
        optimizer.step()
        if count < 30:
            scheduler.step()
