"""Writes optimizers.safetensors: the results of PyTorch's optimizers over 100 steps with the same gradients.

    python optimizers.py [FILE]        # PyTorch 2.11, safetensors

Gradients are the same for every variant, so that only the optimizers are compared. Those of
`p2` are missing in the first five steps. Sizes are such that vectorized kernels have a tail.
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file
from torch.optim import SGD, Adam, AdamW, RMSprop

STEPS, SHAPES = 100, {"p0": (33, 17), "p1": (17,), "p2": (3,)}
ABSENT = 5

# name: class, arguments
VARIANTS = {
    "sgd": (SGD, dict(fused=True)),
    "sgd-momentum": (SGD, dict(momentum=0.9, fused=True)),
    "sgd-nesterov": (SGD, dict(momentum=0.9, nesterov=True, weight_decay=0.01, fused=True)),
    "sgd-dampening": (SGD, dict(momentum=0.9, dampening=0.2, fused=True)),
    "sgd-maximize": (SGD, dict(momentum=0.9, maximize=True, fused=True)),
    "sgd-default": (SGD, dict(momentum=0.9, weight_decay=0.01)),
    "adam": (Adam, dict(fused=True)),
    "adam-decay": (Adam, dict(weight_decay=0.01, betas=(0.8, 0.99), eps=1e-6, fused=True)),
    "adam-amsgrad": (Adam, dict(amsgrad=True, fused=True)),
    "adam-maximize": (Adam, dict(maximize=True, fused=True)),
    "adam-default": (Adam, dict()),
    "adamw": (AdamW, dict(fused=True)),
    "adamw-amsgrad": (AdamW, dict(amsgrad=True, maximize=True, fused=True)),
    "adamw-groups": (AdamW, dict(fused=True)),
    "rmsprop": (RMSprop, dict()),
    "rmsprop-momentum": (RMSprop, dict(alpha=0.9, momentum=0.9, weight_decay=0.01)),
    "rmsprop-centered": (RMSprop, dict(centered=True, eps=1e-6, maximize=True)),
    "rmsprop-all": (RMSprop, dict(centered=True, momentum=0.5, weight_decay=0.01)),
}
RATE = 1e-2


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    out = {f"start.{name}": value for name, value in start.items()}
    # A base and two factors make every gradient: a hundred whole ones would fill a megabyte.
    base = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    drift = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    factors = torch.randn(STEPS, 2)
    out.update({f"base.{name}": value for name, value in base.items()})
    out.update({f"drift.{name}": value for name, value in drift.items()}, factors=factors)
    for variant, (optimizer, arguments) in VARIANTS.items():
        parameters = {name: value.clone().requires_grad_() for name, value in start.items()}
        # A group each: the fused SGD fails in one whose momentum is there for some and not for all.
        groups = [dict(params=[parameters[name]]) for name in SHAPES]
        if variant.endswith("-groups"):
            groups[1].update(lr=RATE / 2, weight_decay=0.1)
        optimizer = optimizer(groups, lr=RATE, **arguments)
        for step in range(STEPS):
            for name, parameter in parameters.items():
                absent = name == "p2" and step < ABSENT
                a, b = factors[step]
                parameter.grad = None if absent else base[name] * a + drift[name] * b
            optimizer.step()
            if step + 1 in (1, 10, STEPS):
                for name, parameter in parameters.items():
                    out[f"{variant}.after{step + 1}.{name}"] = parameter.detach().clone()
        for name, parameter in parameters.items():
            for slot, value in optimizer.state[parameter].items():
                # The default RMSprop counts its steps and never looks at the count.
                if value is not None and not (optimizer.__class__ is RMSprop and slot == "step"):
                    out[f"{variant}.state.{name}.{slot}"] = value.clone()
    beside = pathlib.Path(__file__).with_name("optimizers.safetensors")
    save_file(out, sys.argv[1] if 1 < len(sys.argv) else beside)


if __name__ == "__main__":
    main()
