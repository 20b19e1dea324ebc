"""Milliseconds of torch.save with a sync, for `cargo xtask bench checkpoint --peers`.

Usage: `checkpoint.py FOLDER`. Writes the state of a network under Adam, of several sizes, to one file
and syncs it. Each figure is the median after a warm-up.
"""

import os
import pathlib
import statistics
import sys
import time

import torch


def state(megabytes):
    """One third weights and two thirds optimizer state."""

    def part(size):
        return {f"layer{layer}.weight": torch.rand(size // 16) for layer in range(4)}

    size = megabytes << 20
    return {"module": part(size // 3), "optimizer": part(size - size // 3)}


def main():
    path = pathlib.Path(sys.argv[1]) / "torch.pt"
    for megabytes, rounds in ((1, 41), (64, 9), (512, 5)):
        saved, times = state(megabytes), []
        for _ in range(rounds + 1):
            begun = time.perf_counter()
            with open(path, "wb") as file:
                torch.save(saved, file)
                file.flush()
                os.fsync(file.fileno())
            times.append(time.perf_counter() - begun)
            path.unlink()
        print(f"torch.save/{megabytes}MB\tms\t{1e3 * statistics.median(times[1:])}\tms", flush=True)


if __name__ == "__main__":
    main()
