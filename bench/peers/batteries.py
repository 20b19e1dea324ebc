"""Loggers, a bar and monitors of Python trainers per step, for `cargo xtask bench batteries --peers`.

Each figure is the difference between a long and a short run, divided by the difference in steps, less the same
without any callback. One thread on the CPU; the median of 3.
"""

import logging
import shutil
import statistics
import time
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torchtnt.framework.callback import Callback
from torchtnt.framework.callbacks import TQDMProgressBar
from torchtnt.framework.train import train
from torchtnt.framework.unit import TrainUnit
from torchtnt.utils.loggers import CSVLogger as TntCsv
from torchtnt.utils.loggers import JSONLogger, TensorBoardLogger as TntTensorBoard

torch.set_num_threads(1)
SHORT, LONG, REPEATS = 200, 2_200, 3


def measure(case, make):
    """`make(every, steps)` returns the function that runs so many steps; `every` is None without callbacks."""

    def per_step(every):
        def seconds(steps):
            shutil.rmtree("peer", ignore_errors=True)
            run = make(every, steps)
            begun = time.perf_counter()
            run()
            return time.perf_counter() - begun

        return (seconds(LONG) - seconds(SHORT)) / (LONG - SHORT)

    per_step(1)
    for name, every in (("every_step", 1), ("every_10_steps", 10)):
        costs = [per_step(every) - per_step(None) for _ in range(REPEATS)]
        print(f"peer/{case}/{name}\tns_per_step\t{statistics.median(costs) * 1e9}\tns", flush=True)


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1000))
        self.automatic_optimization = False

    def training_step(self, batch, index):
        self.log("train/loss", 1.0 / (self.trainer.fit_loop.total_batch_idx + 1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def with_lightning(every, steps):
    on = every is not None
    loggers = [TensorBoardLogger("peer", name="tb"), CSVLogger("peer", name="csv")] if on else False
    callbacks = []
    if on:
        callbacks = [
            LearningRateMonitor("step"),
            EarlyStopping("train/loss", patience=9),
            ModelCheckpoint("peer/checkpoints", every_n_train_steps=100, save_top_k=2, monitor="step", mode="max"),
        ]
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=loggers,
        callbacks=callbacks,
        log_every_n_steps=every or 10**9,
        enable_checkpointing=on,
        enable_progress_bar=on,
        enable_model_summary=False,
    )
    data = [torch.zeros(1)] * steps
    return lambda: trainer.fit(Module(), data)


class Unit(TrainUnit):
    def __init__(self):
        super().__init__()
        self.loss = 0.0

    def train_step(self, state, data):
        self.loss = 1.0 / (self.train_progress.num_steps_completed + 1)


class Log(Callback):
    """What a user of TorchTNT writes by hand: it has no callback that logs a metric of a unit."""

    def __init__(self, every, loggers):
        self.every, self.loggers = every, loggers

    def on_train_step_end(self, state, unit):
        step = unit.train_progress.num_steps_completed
        if step % self.every == 0:
            for logger in self.loggers:
                logger.log("train/loss", unit.loss, step)


def with_torchtnt(every, steps):
    callbacks = []
    if every is not None:
        loggers = [TntTensorBoard("peer/tb"), TntCsv("peer/metrics.csv", 100), JSONLogger("peer/metrics.json", 100)]
        callbacks = [Log(every, loggers), TQDMProgressBar()]
    unit, data = Unit(), [torch.zeros(1)] * steps
    return lambda: train(unit, data, max_epochs=1, callbacks=callbacks)


measure("lightning", with_lightning)
measure("torchtnt", with_torchtnt)
