"""The networks of the benchmarks in PyTorch: those of the programs `engines` and `engines-torch`."""

import torch
import torch.nn.functional as F
from torch import nn

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
