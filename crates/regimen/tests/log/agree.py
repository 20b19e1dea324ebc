#!/usr/bin/env python3
"""Compares what the real TensorBoard and W&B read from a folder of the example `every-log` with its `metrics.jsonl`.

    python agree.py RUNS

RUNS has `metrics.jsonl`, `tensorboard` and `wandb`. Exit status 0 if all kinds of value are there and every number is
equal; TensorBoard's as 32-bit floats. Those that are not are printed.
"""
import json, os, struct, subprocess, sys

HERE, RUNS = os.path.dirname(os.path.abspath(__file__)), sys.argv[1]


def read(checker, *args):
    done = subprocess.run([sys.executable, os.path.join(HERE, checker), *args], stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"{checker} ended with {done.returncode}")
    return json.loads(done.stdout)


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def tag(row):
    return row["name"] + ("_epoch" if row["phase"] == "train" and row["epoch"] is not None else "")


written = [json.loads(line) for line in open(os.path.join(RUNS, "metrics.jsonl"))]
exact = {(tag(row), row["step"], row["value"]) for row in written}
rounded = {(name, step, f32(value)) for name, step, value in exact}

events = read("tb_check.py", RUNS)
tensorboard = events["accumulator"]["tensorboard"]
points = {(name, step, value) for name, points in tensorboard["scalars"].items() for step, _, value in points}
readers = {"TensorBoard": (points, rounded)}
for loader, served in events["http"].items():
    tags = served["scalars"]["tensorboard"].items()
    readers[f"TensorBoard ({loader})"] = {(name, p[1], p[2]) for name, tag in tags for p in tag["values"]}, rounded

(arrived,) = read("wandb_check.py", os.path.join(RUNS, "wandb"))["sync"]["runs"].values()
OWN = {"step", "_step", "_runtime", "_timestamp"}
history = [(name, row["step"], value) for row in arrived["history"] for name, value in row.items() if name not in OWN]
readers["W&B"] = {point for point in history if not isinstance(point[2], (dict, str))}, exact

faults = []
for reader, (found, expected) in readers.items():
    faults += [f"{reader}: {name} at step {step}: {value}" for name, step, value in sorted(found ^ expected)]

settings = {"optimizer": "adam", "learning_rate": 0.005, "epochs": 8}
kinds = {content["plugin"] for content in tensorboard["tensors"].values()}
missing = {"audio", "hparams", "histograms", "images", "text", "custom_scalars"} - kinds
if missing or not tensorboard["graph"]:
    faults.append(f"TensorBoard has no {sorted(missing) or 'graph'}")
given = tensorboard["tensors"]["_hparams_/session_start_info"]["content"]["sessionStartInfo"]["hparams"]
if given != settings:
    faults.append(f"TensorBoard's hyper-parameters are {given}")
config = {name: value["value"] for name, value in arrived["upserts"][-1]["config"].items() if name in settings}
if config != settings:
    faults.append(f"W&B's hyper-parameters are {config}")
types = {value["_type"] for _, _, value in history if isinstance(value, dict)}
if types != {"histogram", "images/separated"}:
    faults.append(f"W&B's media are {types}")

print("\n".join(faults) or f"{len(written)} numbers are equal in {', '.join(readers)}")
sys.exit(bool(faults))
