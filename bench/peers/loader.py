"""Throughput of PyTorch's DataLoader in samples per second, for `cargo xtask bench loader --peers`.

Usage: `loader.py FOLDER`. Shuffled, padded by 2, randomly cropped, normalised, in batches of 64. One
thread; the median of 5 passes after a warm-up.
"""

import gzip
import pathlib
import statistics
import sys
import time

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)


def values(folder, ending, header):
    path = next(path for path in sorted(folder.iterdir()) if path.name.removesuffix(".gz").endswith(ending))
    packed = path.suffix == ".gz"
    return np.frombuffer(gzip.open(path).read() if packed else path.read_bytes(), np.uint8, offset=header)


class Digits(Dataset):
    def __init__(self, folder):
        self.images = values(folder, "images-idx3-ubyte", 16).reshape(-1, 28, 28)
        self.labels = values(folder, "labels-idx1-ubyte", 8)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        padded = np.pad(self.images[index], 2)
        top, left = torch.randint(0, 5, (2,)).tolist()
        image = torch.from_numpy(padded[top : top + 28, left : left + 28].astype(np.float32))
        return (image / 255.0 - 0.1307) / 0.3081, int(self.labels[index])


def main():
    digits = Digits(pathlib.Path(sys.argv[1]))
    for workers in (0, 2):
        loader = DataLoader(
            digits, batch_size=64, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )
        rates = []
        for _ in range(6):
            begun = time.perf_counter()
            samples = sum(len(labels) for _, labels in loader)
            rates.append(samples / (time.perf_counter() - begun))
        rate = statistics.median(rates[1:])
        print(f"pytorch/workers={workers}\tsamples_per_s\t{rate}\tsamples/s", flush=True)


if __name__ == "__main__":
    main()
