"""Milliseconds per training step of PyTorch and TorchTNT, for `cargo xtask bench engines --peers`.

Usage: `engines.py THREADS`. Answers every line `MODEL BATCH TRAINER STEPS` with one number. A contestant
is built and warmed up on its first request, and trained further by later lines. The networks are those of
the programs `engines` and `engines-torch`.
"""

import logging
import sys
import time
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import torch
from torchtnt.framework.auto_unit import AutoUnit
from torchtnt.framework.train import train

from networks import MODELS, RATE, WARM_UP


def plain(**settings):
    """A training loop written by hand, without a trainer."""

    def make(network, batch, algorithm):
        optimizer = algorithm(network.parameters(), lr=RATE, **settings)

        def run(steps):
            for data in [batch] * steps:
                network(data).backward()
                optimizer.step()
                optimizer.zero_grad()

        return run

    return make


class Unit(AutoUnit):
    def __init__(self, network, algorithm):
        self.algorithm = algorithm
        super().__init__(module=network, device=torch.device("cpu"))

    def compute_loss(self, state, data):
        loss = self.module(data)
        return loss, loss

    def configure_optimizers_and_lr_scheduler(self, module):
        return self.algorithm(module.parameters(), lr=RATE), None


def torchtnt(network, batch, algorithm):
    unit = Unit(network, algorithm)
    return lambda steps: train(unit, [batch] * steps, max_epochs=unit.train_progress.num_epochs_completed + 1)


TRAINERS = {"pytorch": plain(), "pytorch-fused": plain(fused=True), "torchtnt": torchtnt}


def contestant(model, batch, trainer):
    torch.manual_seed(7)
    network, data, algorithm = MODELS[model]
    run = TRAINERS[trainer](network(), data(int(batch)), algorithm)
    run(WARM_UP)
    return run


def main():
    torch.set_num_threads(int(sys.argv[1]))
    contestants = {}
    for line in sys.stdin:
        *who, steps = line.split()
        steps, who = int(steps), tuple(who)
        run = contestants.get(who) or contestants.setdefault(who, contestant(*who))
        begun = time.perf_counter()
        run(steps)
        print((time.perf_counter() - begun) * 1e3 / steps, flush=True)


if __name__ == "__main__":
    main()
