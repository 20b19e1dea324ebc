"""Run folders as regimen writes them, with curves that look like those of training."""

import json
import math
import pathlib
import random
import struct
import zlib

DAY = 1_796_000_000


def utc(seconds):
    import datetime

    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def png(width, height, pixels):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(pixels[y]) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def confusion(chance):
    side, classes = 24, 10
    pixels = []
    shares = [[chance.random() * 0.08 + (0.85 if a == b else 0) for b in range(classes)] for a in range(classes)]
    for y in range(side * classes):
        row = []
        for x in range(side * classes):
            share = shares[y // side][x // side]
            edge = x % side == 0 or y % side == 0
            row += [224] * 3 if edge else [int(255 - 221 * share), int(255 - 150 * share), int(255 - 75 * share)]
        pixels.append(row)
    return png(side * classes, side * classes, pixels)


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def record(time, step, summary=b""):
    event = b"\x09" + struct.pack("<d", time) + b"\x10" + varint(step) + summary
    return struct.pack("<QI", len(event), 0) + event + b"\0" * 4


def picture(name, data):
    tensor = b"".join(field(8, part) for part in [b"240", b"240", data])
    return field(5, field(1, field(1, name.encode()) + field(8, tensor)))


def write(folder, seed, points=3000, rate=1e-3, batch_size=64, width=256, optimizer="adamw", fails=False, details=True):
    """A run with about `points` values. Returns its last training loss."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    chance = random.Random(seed)
    steps, per_epoch = points * 10 // 4, max(points // 10, 1)
    quality = abs(math.log10(rate) + 2.7) * 0.25 + 24 / width + chance.random() * 0.05
    lines, loss, noise = [], 0.0, 0.0

    def log(step, phase, name, value, epoch=None):
        value = value if math.isfinite(value) else {"nan": "NaN", "inf": "inf", "-inf": "-inf"}[str(value)]
        lines.append(json.dumps({"step": step, "phase": phase, "name": name, "value": value, "epoch": epoch}))

    events = [record(DAY, 0, field(3, b"brain.Event:2")), record(DAY, 0, field(7, b"\x08\x01"))]
    speed = chance.uniform(30, 50)
    epoch, sum_of_epoch, count_of_epoch = 0, 0.0, 0
    end = steps * 2 // 3 if fails else steps
    for step in range(10, end + 1, 10):
        part = step / steps
        noise = 0.8 * noise + chance.gauss(0, 0.05)
        loss = (2.3 - quality) * math.exp(-6 * part) + 0.12 + quality * 0.5 + abs(noise) * (0.2 + math.exp(-4 * part))
        if fails and step > end - 60:
            loss *= 1 + (step - end + 60) / 8
        if fails and step > end - 20:
            loss = math.nan
        if chance.random() < 0.0008:
            loss += 1.5
        sum_of_epoch, count_of_epoch = sum_of_epoch + loss, count_of_epoch + 1
        warm = min(1, part / 0.05) * 0.5 * (1 + math.cos(math.pi * part))
        log(step, "train", "train/loss", loss)
        log(step, "train", "learning_rate/default", rate * warm)
        log(step, "train", "train/gradient_norm", abs(chance.gauss(1, 0.2)) * (0.3 + 2 * math.exp(-5 * part)))
        log(step, "train", "train/samples_per_second", speed * batch_size * chance.gauss(1, 0.03))
        events.append(record(DAY + step / speed, step))
        if step % per_epoch < 10 and step >= per_epoch:
            epoch += 1
            log(step, "train", "train/loss", sum_of_epoch / count_of_epoch, epoch)
            if not math.isnan(loss):
                log(step, "eval", "eval/loss", 0.18 + quality * 0.6 + (2 - quality) * math.exp(-5 * part) + chance.gauss(0, 0.01), epoch)
                log(step, "eval", "eval/accuracy", 0.985 - quality * 0.12 - 0.6 * math.exp(-5 * part) + chance.gauss(0, 0.002), epoch)
            sum_of_epoch, count_of_epoch = 0.0, 0
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    settings = {"learning_rate": rate, "batch_size": batch_size, "width": width, "optimizer": optimizer, "layers": 4, "dropout": 0.1, "seed": 7}
    (folder / "hyper_parameters.json").write_text(json.dumps(settings, indent=2) + "\n")
    start = {"time": utc(DAY), "regimen": "0.1.0", "os": "linux", "arch": "x86_64", "cpus": 16, "host": "node-3", "process": 4711,
             "folder": "~/digits", "command": ["digits", "--learning-rate", str(rate)], "git": "27128c1f06b2b4e0a4a0cf2c1f3d1b6a9b1d2e3f-dirty", "step": 0}
    (folder / "environment.jsonl").write_text(json.dumps(start) + "\n")
    took = end / speed
    log_lines = [f"{utc(DAY + took * 0.31)} step {end * 31 // 100}: the loader waits for data: 18 % of the last 100 steps",
                 f"{utc(DAY + took * 0.58)} step {end * 58 // 100}: worker 3 was restarted after 4 s without a batch"]
    if fails:
        log_lines.append(f"{utc(DAY + took)} step {end}: error: unit failed in train_step in train at epoch {epoch} step {end}: the loss is NaN")
        (folder / "flight.json").write_text(json.dumps({
            "reason": "the loss is NaN", "time": DAY + took,
            "steps": [{"step": end - 40 + 10 * n, "metrics": {"train/loss": value, "train/gradient_norm": norm}, "samples": [n * 64, n * 64 + 1, n * 64 + 2]}
                      for n, (value, norm) in enumerate([(0.91, 2.4), (2.3, 11.0), (6.4, 88.1), ("NaN", "inf")])]}))
    else:
        log_lines.append(f"{utc(DAY + took)} step {end}: training complete after {epoch} epochs, {end} steps\nbest eval/loss 0.2134 in epoch {epoch}, at step {end}")
    (folder / "log.txt").write_text("\n".join(log_lines) + "\n")
    (folder / "tensorboard").mkdir()
    if details:
        events.append(record(DAY + took, end, picture("confusion", confusion(chance))))
        (folder / "profile.json").write_text(json.dumps({
            "sentence": "71 % of the time is in the step, 12 % waits for data.", "wall_seconds": took, "flops_per_second": 3.1e11,
            "blocks": [{"name": "step", "count": end, "seconds": took * 0.71, "blocks": [
                {"name": "forward", "count": end, "seconds": took * 0.24}, {"name": "backward", "count": end, "seconds": took * 0.36},
                {"name": "optimizer", "count": end, "seconds": took * 0.09}]},
                {"name": "data", "count": end, "seconds": took * 0.12}, {"name": "evaluation", "count": epoch, "seconds": took * 0.11},
                {"name": "checkpoint", "count": epoch, "seconds": took * 0.03}]}))
        (folder / "summary.txt").write_text(
            "name            shape      parameters  trainable    size\n" + "-" * 56 + "\n"
            "body                           50.2 K     50.2 K  200 KB\n  bias          [64]               64         64   256 B\n"
            "  weight        [784, 64]      50.2 K     50.2 K  200 KB\nhead                              640        640  2.6 KB\n"
            "  weight        [64, 10]          640        640  2.6 KB\n" + "-" * 56 + "\ntotal                          50,880     50,880  203 KB\n")
    (folder / "tensorboard" / "events.out.tfevents.1796000000.node.1.0").write_bytes(b"".join(events))
    return loss


def few(folder):
    """Five runs, one of which failed. Returns their folders."""
    settings = [(3e-3, 64, 256, "adamw", False), (1e-3, 64, 256, "adamw", False), (1e-3, 128, 128, "sgd", False),
                (3e-4, 64, 256, "adamw", False), (1e-2, 64, 64, "adamw", True)]
    folders = []
    for n, (rate, batch, width, optimizer, fails) in enumerate(settings):
        folders.append(pathlib.Path(folder) / f"{optimizer}-{rate:g}-w{width}-b{batch}")
        write(folders[-1], n, 6000, rate, batch, width, optimizer, fails)
    return folders


def many(folder, count=100, points=2400):
    """A sweep over rates and widths. Returns the folders."""
    chance, folders = random.Random(1), []
    for n in range(count):
        folders.append(pathlib.Path(folder) / f"sweep-{n:03}")
        write(folders[-1], n, points, 10 ** chance.uniform(-4, -1.7), chance.choice([32, 64, 128]), chance.choice([64, 128, 256, 512]), details=False)
    return folders
