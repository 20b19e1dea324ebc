"""Loggers, a bar and monitors of Python trainers per step, for `cargo xtask bench batteries --peers`.

Each figure is the time between two steps of 200 us, less the same without any callback. One thread on the CPU; the
median of 3.
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
STEPS, WORK, REPEATS = 2_000, 200e-6, 3


class Clock:
    """The time between two steps, summed."""

    def __init__(self):
        self.between, self.ended = 0.0, None

    def step(self):
        begun = time.perf_counter()
        if self.ended is not None:
            self.between += begun - self.ended
        while time.perf_counter() < begun + WORK:
            pass

    def end(self):
        self.ended = time.perf_counter()


def measure(case, run):
    """`run(every, clock)` trains with everything on, or without a callback if `every` is None."""

    def per_step(every):
        shutil.rmtree("peer", ignore_errors=True)
        clock = Clock()
        run(every, clock)
        return clock.between / STEPS

    for name, every in (("every_step", 1), ("every_10_steps", 10)):
        costs = [per_step(every) - per_step(None) for _ in range(REPEATS)]
        print(f"peer/{case}/{name}\tns_per_step\t{statistics.median(costs) * 1e9}\tns", flush=True)


class Module(lightning.LightningModule):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.weight = torch.nn.Parameter(torch.zeros(1000))
        self.automatic_optimization = False

    def training_step(self, batch, index):
        self.clock.step()
        self.log("train/loss", 1.0 / (self.trainer.fit_loop.total_batch_idx + 1))
        self.clock.end()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def with_lightning(every, clock):
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
    trainer.fit(Module(clock), torch.utils.data.DataLoader([torch.zeros(1)] * STEPS, batch_size=None))


class Unit(TrainUnit):
    def __init__(self, clock):
        super().__init__()
        self.clock, self.loss = clock, 0.0

    def train_step(self, state, data):
        self.clock.step()
        self.loss = 1.0 / (self.train_progress.num_steps_completed + 1)
        self.clock.end()


class Log(Callback):
    """What a user of TorchTNT writes by hand: it has no callback that logs a metric of a unit."""

    def __init__(self, every, loggers):
        self.every, self.loggers = every, loggers

    def on_train_step_end(self, state, unit):
        step = unit.train_progress.num_steps_completed
        if step % self.every == 0:
            for logger in self.loggers:
                logger.log("train/loss", unit.loss, step)


def with_torchtnt(every, clock):
    callbacks = []
    if every is not None:
        loggers = [TntTensorBoard("peer/tb"), TntCsv("peer/metrics.csv", 100), JSONLogger("peer/metrics.json", 100)]
        callbacks = [Log(every, loggers), TQDMProgressBar()]
    train(Unit(clock), [torch.zeros(1)] * STEPS, max_epochs=1, callbacks=callbacks)


measure("lightning", with_lightning)
measure("torchtnt", with_torchtnt)
