"""Watches calibration and linearity on the held-out images while a network trains."""

from collections.abc import Callable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor

from mixkd.callbacks.loggers import log_picture
from mixkd.config.training import LinearityMonitorConfig
from mixkd.data.module import ImageDataModule
from mixkd.data.pairs import draw_pairs
from mixkd.files.layout import FIGURES
from mixkd.metrics.vicinal import VicinalLinearity, answers_between
from mixkd.modules.distillation import Distillation
from mixkd.modules.learner import Learner
from mixkd.plots.reliability import Curve, reliability_figure
from mixkd.plots.style import save_figure
from mixkd.plots.vicinal import vicinal_figure
from mixkd.runs.run import Run


def is_due(trainer: Trainer, every_n_epochs: int) -> bool:
    """Return whether the epoch that ends is one of every n, or the last."""
    done = trainer.current_epoch + 1
    return done % every_n_epochs == 0 or done == trainer.max_epochs


def show_figure(figure: Figure, name: str, run: Run, trainer: Trainer) -> None:
    """Write the latest figure of this name into the run directory, and send it to the loggers."""
    stem = run.path / FIGURES / f"{name}-training"
    save_figure(figure, stem)
    log_picture(trainer.loggers, f"val/{name}", stem.with_suffix(".png"), trainer.global_step)


class CalibrationMonitor(Callback):
    """Draws the reliability of the held-out images, every n epochs and at the last one."""

    def __init__(self, run: Run, every_n_epochs: int) -> None:
        self.run, self.every_n_epochs = run, every_n_epochs

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw and log the figure."""
        assert isinstance(pl_module, Learner)
        if is_due(trainer, self.every_n_epochs) and trainer.is_global_zero:
            title = f"held-out, epoch {trainer.current_epoch + 1}"
            curve = Curve(title, pl_module.reliability, pl_module.values["val/ece"])
            show_figure(reliability_figure([curve]), "reliability", self.run, trainer)


class LinearityMonitor(Callback):
    """Logs how the network, and its teacher, answer between pairs of held-out images.

    `vicinal/val/...`, as `mixkd evaluate vicinal=true` names it, goes to the loggers and
    history.csv. Training is the same with it and without.
    """

    def __init__(self, run: Run, cfg: LinearityMonitorConfig) -> None:
        self.run, self.cfg = run, cfg

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask the networks, log the figures of merit, draw the curves."""
        assert isinstance(pl_module, Learner)
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, ImageDataModule)
        assert self.cfg.every_n_epochs is not None
        n = len(data.splits.val)
        if not is_due(trainer, self.cfg.every_n_epochs) or n < 2 * trainer.world_size:
            return
        networks: dict[str, Callable[[Tensor], Tensor]] = {"network": pl_module.outcome}
        if isinstance(pl_module, Distillation):
            networks = {"student": pl_module.outcome, "teacher": pl_module.teacher}
        lambdas = torch.linspace(0, 1, self.cfg.lambdas, dtype=torch.float64).tolist()
        metric = VicinalLinearity(tuple(networks), lambdas).to(pl_module.device)
        pairs = draw_pairs(n, self.cfg.n_pairs, self.cfg.seed)
        with torch.no_grad(), trainer.precision_plugin.val_step_context():
            for batch in data.pair_batches("val", pairs):
                answers = answers_between(networks, batch.first, batch.second, lambdas)
                metric.update(answers, batch.position)
        rows, metrics = metric.compute()
        metrics = {f"vicinal/val/{name}": value for name, value in metrics.items()}
        pl_module.values |= metrics
        pl_module.log_dict(metrics, rank_zero_only=True)
        if trainer.is_global_zero:
            show_figure(vicinal_figure(rows), "vicinal", self.run, trainer)
