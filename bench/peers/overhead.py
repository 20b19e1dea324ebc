"""Overhead of Python trainers per step, for `cargo xtask bench overhead --peers`.

Each figure is the difference between a long and a short run, divided by the difference in steps: the fixed
cost of a run cancels. One thread on the CPU; the median of 5.
"""

import logging
import statistics
import time
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import torch
from ignite.engine import Engine, Events
from torch import nn
from torchtnt.framework.auto_unit import AutoUnit
from torchtnt.framework.callback import Callback
from torchtnt.framework.train import train
from torchtnt.framework.unit import TrainUnit

torch.set_num_threads(1)
SHORT, LONG, REPEATS = 1_000, 6_000, 5
CALLBACKS = (0, 1, 10, 30)


def measure(case, make):
    """`make(data)` builds a run and returns the function that executes it over `data`."""

    def seconds(steps):
        run = make([torch.zeros(1, 1)] * steps)
        begun = time.perf_counter()
        run()
        return time.perf_counter() - begun

    seconds(200)
    times = [(seconds(LONG) - seconds(SHORT)) / (LONG - SHORT) for _ in range(REPEATS)]
    print(f"peer/{case}\tns_per_step\t{statistics.median(times) * 1e9}\tns", flush=True)


def linear():
    torch.manual_seed(0)
    module = nn.Linear(1, 1)
    return module, torch.optim.SGD(module.parameters(), lr=1e-3)


class Empty(TrainUnit):
    def train_step(self, state, data):
        return None


class Watch(Callback):
    def __init__(self):
        self.steps = 0

    def on_train_step_end(self, state, unit):
        self.steps += 1


class Linear(AutoUnit):
    def compute_loss(self, state, data):
        out = self.module(data)
        return out.sum(), out

    def configure_optimizers_and_lr_scheduler(self, module):
        return torch.optim.SGD(module.parameters(), lr=1e-3), None


def torchtnt(make_unit, callbacks=0):
    def make(data):
        unit, watchers = make_unit(), [Watch() for _ in range(callbacks)]
        return lambda: train(unit, data, max_epochs=1, callbacks=watchers)

    return make


def ignite(handlers):
    def make(data):
        engine = Engine(lambda engine, batch: None)
        watchers = [Watch() for _ in range(handlers)]
        for watcher in watchers:
            engine.add_event_handler(Events.ITERATION_COMPLETED, watcher.on_train_step_end, None)
        return lambda: engine.run(data, max_epochs=1)

    return make


def by_hand(data):
    module, optimizer = linear()

    def run():
        for batch in data:
            optimizer.zero_grad(set_to_none=True)
            module(batch).sum().backward()
            optimizer.step()

    return run


for callbacks in CALLBACKS:
    measure(f"torchtnt/empty/{callbacks}", torchtnt(Empty, callbacks))
for handlers in CALLBACKS:
    measure(f"ignite/empty/{handlers}", ignite(handlers))
measure("torch/linear/by_hand", by_hand)
measure("torchtnt/linear/auto_unit", torchtnt(lambda: Linear(module=nn.Linear(1, 1), device=torch.device("cpu"))))
