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
import torch.nn.functional as F
from torch import nn
from torchtnt.framework.auto_unit import AutoUnit
from torchtnt.framework.train import train

WARM_UP = 3
RATE = 1e-3
ALPHABET, CONTEXT, WIDTH, HEADS, LAYERS, DROPOUT = 65, 64, 128, 4, 4, 0.1


class Classifier(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, batch):
        pixels, classes = batch
        return F.cross_entropy(self.layers(pixels), classes)


def digits(batch):
    return torch.rand(batch, 784), torch.arange(batch) % 10


def mlp():
    return Classifier(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))


def cnn():
    convolutions = nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)
    dense = nn.Linear(64 * 144, 128), nn.ReLU(), nn.Linear(128, 10)
    return Classifier(nn.Unflatten(1, (1, 28, 28)), *convolutions, nn.Flatten(), *dense)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.queries_keys_values, self.context = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.inner, self.outer = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x):
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        inner = self.dropout(F.gelu(self.inner(self.feed_forward_norm(x))))
        return x + self.dropout(self.outer(inner))

    def attention(self, x):
        batch, length, _ = x.shape
        parts = self.queries_keys_values(x).chunk(3, dim=-1)
        parts = [part.view(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2) for part in parts]
        x = F.scaled_dot_product_attention(*parts, dropout_p=DROPOUT if self.training else 0.0, is_causal=True)
        return self.context(x.transpose(1, 2).reshape(batch, length, WIDTH))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.characters, self.positions = nn.Embedding(ALPHABET, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.dropout, self.blocks = nn.Dropout(DROPOUT), nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, ALPHABET)

    def forward(self, batch):
        characters, following = batch
        positions = torch.arange(characters.shape[1])
        x = self.dropout(self.characters(characters) + self.positions(positions))
        logits = self.head(self.norm(self.blocks(x)))
        return F.cross_entropy(logits.flatten(0, 1), following.flatten())


def text(batch):
    return torch.randint(ALPHABET, (batch, CONTEXT)), torch.randint(ALPHABET, (batch, CONTEXT))


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, batch):
        return self.layer(batch).sum()


def number(batch):
    return torch.zeros(batch, 1)


MODELS = {
    "mlp": (mlp, digits, torch.optim.Adam),
    "cnn": (cnn, digits, torch.optim.Adam),
    "chars": (Transformer, text, torch.optim.Adam),
    "linear": (Linear, number, torch.optim.SGD),
}


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
