"""Samples per second of PyTorch with Gloo, for `cargo xtask bench distributed --peers`.

Usage: `distributed.py STEPS ROUNDS`, under torchrun or alone. Each rank has one thread. The network and the
batch are those of the programs `ranks` and `ranks-torch`. Several ranks train by DDP, and then add up numbers.
"""

import os
import statistics
import sys
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from networks import RATE, WARM_UP, cnn, digits

BATCH = 64
LENGTHS = 1, 10_000, 100_000, 1_000_000


def train(network, steps):
    """Samples per second of this rank."""
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
    batch = digits(BATCH)
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            begun = time.perf_counter()
        network(batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    return BATCH * steps / (time.perf_counter() - begun)


def microseconds_per_sum(length, rounds):
    numbers, times = torch.zeros(length), []
    for _ in range(rounds):
        dist.barrier()
        begun = time.perf_counter()
        dist.all_reduce(numbers)
        times.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(times)


def main():
    steps, rounds = (int(argument) for argument in sys.argv[1:])
    torch.set_num_threads(1)
    torch.manual_seed(7)
    if "RANK" not in os.environ:
        print(f"1 together\tsamples_per_s\t{train(cnn(), steps)}\tsamples/s")
        return
    dist.init_process_group("gloo")
    rate = torch.tensor(train(DistributedDataParallel(cnn()), steps), dtype=torch.float64)
    dist.all_reduce(rate)
    sums = [(length, microseconds_per_sum(length, rounds)) for length in LENGTHS]
    if dist.get_rank() == 0:
        print(f"{dist.get_world_size()} together\tsamples_per_s\t{rate.item()}\tsamples/s")
        for length, microseconds in sums:
            print(f"{length} f32\tus_per_sum\t{microseconds}\tus")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
