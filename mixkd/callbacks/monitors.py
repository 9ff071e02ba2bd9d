"""Watch how any classifier answers about the held-out images while it trains.

The monitors go into any `lightning.Trainer`: they watch a LightningModule whose forward gives
logits, over validation loaders of (images, labels) or mixkd's data. Of several loaders they watch
the first. Training is the same with them and without.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from matplotlib.figure import Figure
from torch import Tensor, nn

from mixkd.callbacks.pictures import log_picture, takes_pictures
from mixkd.data.corruption_names import CORRUPTIONS, PAPER, SEVERITIES
from mixkd.data.corruptions import corrupt, parameters_for
from mixkd.data.loaders import PairImages, Share, first_loader
from mixkd.data.module import ImageDataModule
from mixkd.data.pairs import draw_pairs
from mixkd.errors import check_count, check_known, check_positive, shown
from mixkd.evaluation.asking import Model, asked
from mixkd.metrics.calibration import Calibration
from mixkd.metrics.vicinal import VicinalLinearity, answers_between
from mixkd.modules.learner import Learner
from mixkd.networks.checks import eval_mode
from mixkd.networks.network import logits_of
from mixkd.plots.corruptions import severities_figure
from mixkd.plots.reliability import Curve, reliability_figure
from mixkd.plots.style import save_figure, write_png
from mixkd.plots.vicinal import vicinal_figure

MEASURED = ("accuracy", "ece", "nll")
CHANNELS = 3
SEED = 0  # of the noise

Folder = str | PathLike[str] | None


class Monitor(Callback):
    """Looks at the held-out images every n epochs and at the last one, and draws what it sees.

    Args:
        every_n_epochs: of the epochs that end with validation; `trainer.validate` is always looked
            at, the sanity check never.
        folder: where the latest picture is kept, as PNG and SVG; None: nowhere. The trainer's
            loggers get each, where they take pictures.
    """

    def __init__(self, every_n_epochs: int, folder: Folder) -> None:
        check_count("every_n_epochs", every_n_epochs)
        self.every_n_epochs = every_n_epochs
        self.folder = None if folder is None else Path(folder)

    def is_due(self, trainer: Trainer) -> bool:
        """Return whether the validation that runs is to be looked at."""
        done = trainer.current_epoch + 1
        is_fit = trainer.state.fn == TrainerFn.FITTING
        is_in_turn = done % self.every_n_epochs == 0 or done == trainer.max_epochs
        return not trainer.sanity_checking and (is_in_turn or not is_fit)

    def log_metrics(self, module: LightningModule, metrics: dict[str, float]) -> None:
        """Log metrics that are already over all processes."""
        if isinstance(module, Learner):
            module.values |= metrics
        module.log_dict(metrics, sync_dist=True)  # the same in all processes

    def show(self, figure: Figure, name: str, trainer: Trainer) -> None:
        """Keep the latest figure of a name, and send it to the loggers."""
        if self.folder is not None:
            save_figure(figure, self.folder / f"{name}-training")
        if any(map(takes_pictures, trainer.loggers)):
            picture = io.BytesIO()
            write_png(figure, picture)
            log_picture(trainer.loggers, f"val/{name}", picture, trainer.global_step)


class CalibrationMonitor(Monitor):
    """Logs accuracy and calibration of the held-out images, and draws a reliability diagram.

    It logs `val/accuracy`, `val/confidence`, `val/ece` (eq. 16), `val/signed_gap`, `val/nll` and
    `val/brier`; a `Supervised` or `Distillation` module does so itself. What `validation_step`
    returns is taken for the logits if it is a float tensor [b, classes], or a mapping with such
    `logits`; else the module is asked again.

    Args:
        every_n_epochs: of the epochs that end with validation, and the last one.
        folder: where the latest diagram is kept, as PNG and SVG; None: nowhere.

    Raises:
        ValueError: for other values, or batches that are no images and labels.
        NotFinite: if the logits are not finite.

    Examples:
        >>> from lightning import Trainer
        >>> trainer = Trainer(callbacks=[CalibrationMonitor(every_n_epochs=5)], logger=False)
    """

    def __init__(self, every_n_epochs: int = 1, folder: Folder = None) -> None:
        super().__init__(every_n_epochs, folder)
        self._share: Share | None = None
        self._metric = Calibration()
        self._reliability: list[dict[str, Any]] = []
        self._ece = 0.0

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count, unless the module does."""
        counts = self.is_due(trainer) and not isinstance(pl_module, Learner)
        self._share = _share(trainer) if counts else None
        self._metric = Calibration().to(_metric_device(pl_module))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Count a batch."""
        if self._share is None or dataloader_idx:
            return
        images, label, _ = self._share.take(batch)
        logits: Any = outputs.get("logits") if isinstance(outputs, Mapping) else outputs
        is_float = isinstance(logits, Tensor) and logits.is_floating_point()
        if not is_float or logits.ndim != 2 or len(logits) < len(images):
            with _asking(trainer, pl_module):
                logits = _asked(pl_module, pl_module)(images)
        device = self._metric.device
        self._metric.update(logits[: len(label)].to(device), label.to(device))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what was counted."""
        if self._share is not None:
            values = self._metric.compute()
            self._reliability, self._ece = self._metric.reliability(), values["ece"]
            del values["n"]
            self.log_metrics(pl_module, {f"val/{name}": value for name, value in values.items()})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the diagram."""
        if self.is_due(trainer) and trainer.is_global_zero:
            rows, ece = self._reliability, self._ece
            if isinstance(pl_module, Learner):
                rows, ece = pl_module.reliability, pl_module.values["val/ece"]
            curve = Curve(f"held-out, epoch {trainer.current_epoch + 1}", rows, ece)
            self.show(reliability_figure([curve]), "reliability", trainer)


class LinearityMonitor(Monitor):
    """Logs how the network, and its teacher, answer between pairs of held-out images.

    It logs `vicinal/val/...`, as `mixkd evaluate vicinal=true` names it, of `network`, or of
    `student` and `teacher`, and draws the curves over lambda.

    Args:
        every_n_epochs: of the epochs that end with validation, and the last one.
        n_pairs: how many pairs, at most; no two share an image. Of a plain loader each process
            draws its part among its own images, which alone are kept in memory.
        lambdas: points of the grid on [0, 1], 3 or more.
        seed: of the pairs.
        teacher: from the same images to logits of the same classes; None: the module's attribute
            `teacher`, where it has one that can be called.
        folder: where the latest picture is kept, as PNG and SVG; None: nowhere.

    Raises:
        ValueError: for other values, or batches that are no images and labels.
        NotFinite: if logits are not finite.

    Examples:
        >>> from lightning import Trainer
        >>> trainer = Trainer(callbacks=[LinearityMonitor(n_pairs=100)], logger=False)
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        n_pairs: int = 200,
        lambdas: int = 5,
        seed: int = 0,
        teacher: Model | None = None,
        folder: Folder = None,
    ) -> None:
        super().__init__(every_n_epochs, folder)
        check_count("n_pairs", n_pairs)
        check_count("lambdas", lambdas, 3)
        check_count("seed", seed, 0)
        self.n_pairs, self.seed, self.teacher = n_pairs, seed, teacher
        self.lambdas: list[float] = torch.linspace(0, 1, lambdas, dtype=torch.float64).tolist()
        self._share: Share | None = None
        self._kept: PairImages | None = None
        self._at_once = 1

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to keep the images of a plain loader."""
        self._share = None
        if self.is_due(trainer) and _data(trainer) is None:
            self._share = _share(trainer)
            count = -(-self.n_pairs // trainer.world_size)
            self._kept = PairImages(self._share.n, count, self.seed)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep the images of pairs."""
        if self._share is not None and not dataloader_idx:
            assert self._kept is not None
            images = self._share.take(batch).images
            self._at_once = max(self._at_once, len(images))
            self._kept.add(images)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask the networks, log the figures of merit, draw the curves."""
        if not self.is_due(trainer) or (batches := self._batches(trainer)) is None:
            return
        teacher = getattr(pl_module, "teacher", None) if self.teacher is None else self.teacher
        networks: dict[str, Any] = {"network": pl_module}
        if callable(teacher):
            networks = {"student": pl_module, "teacher": teacher}
            if isinstance(teacher, nn.Module):
                teacher.to(pl_module.device)
        metric = VicinalLinearity(tuple(networks), self.lambdas).to(_metric_device(pl_module))
        with _asking(trainer, *networks.values()):
            ask = {name: _asked(network, pl_module) for name, network in networks.items()}
            for first, second, position in batches:
                metric.update(answers_between(ask, first, second, self.lambdas), position)
        rows, metrics = metric.compute()
        self.log_metrics(pl_module, {f"vicinal/val/{k}": value for k, value in metrics.items()})
        if trainer.is_global_zero:
            self.show(vicinal_figure(rows), "vicinal", trainer)

    def _batches(self, trainer: Trainer) -> Iterator[tuple[Tensor, Tensor, Tensor]] | None:
        """Return this process's pairs, with their positions; None if a process has none."""
        data = _data(trainer)
        if data is not None:
            n = len(data.splits.val)
            if n < 2 * trainer.world_size:
                return None
            drawn = data.pair_batches("val", draw_pairs(n, self.n_pairs, self.seed))
            return ((batch.first, batch.second, batch.position) for batch in drawn)
        assert self._kept is not None
        sides, self._kept = self._kept.pairs(), None
        count = torch.tensor(len(sides[0]), device=trainer.strategy.root_device)
        if not trainer.strategy.reduce(count, reduce_op="min"):
            return None
        position = torch.arange(len(sides[0])) + trainer.global_rank * self.n_pairs
        return zip(*(torch.split(x, self._at_once) for x in (*sides, position)), strict=True)


class CorruptionMonitor(Monitor):
    """Logs accuracy and calibration of the held-out images as they are corrupted.

    The corruptions are those of Hendrycks and Dietterich (2019), made of the images as they come,
    with the same noise each time. It logs `corruption/val/NAME/SEVERITY/accuracy`, `.../ece` and
    `.../nll`, and their means over all as `corruption/val/mean/...`.

    Args:
        every_n_epochs: of the epochs that end with validation, and the last one. On a CPU, each
            corruption takes in the order of a second a thousand small images.
        names: of corruptions, such as fog; by default those on which the paper reports.
        severities: from 1 to 5.
        mean: of each channel in [0, 1], which was subtracted of the images; None: they are not
            normalised.
        std: of each channel, by which they were divided.
        folder: where the latest picture is kept, as PNG and SVG; None: nowhere.

    Raises:
        ValueError: for other values, and for images that are neither uint8 nor in [0, 1], with
            mean and std taken out, of shape [b, 3, h, w].
        NotFinite: if logits are not finite.

    Examples:
        >>> from lightning import Trainer
        >>> monitor = CorruptionMonitor(every_n_epochs=10, names=["fog", "contrast"])
        >>> trainer = Trainer(callbacks=[monitor], logger=False)
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        names: Sequence[str] = PAPER,
        severities: Sequence[int] = (3,),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        folder: Folder = None,
    ) -> None:
        super().__init__(every_n_epochs, folder)
        for key, values in (("names", names), ("severities", severities)):
            if isinstance(values, str) or not values or len(set(values)) < len(values):
                raise ValueError(f"{key}: got {shown(values)}; takes a list, each once")
        for name in names:
            check_known("names", name, CORRUPTIONS)
        for severity in severities:
            if severity not in range(1, SEVERITIES + 1):
                raise ValueError(f"severities: got {shown(severity)}; takes 1 to {SEVERITIES}")
        if (mean is None) != (std is None):
            raise ValueError("mean, std: got one of them; takes both, or neither")
        for key, channels in (("mean", mean), ("std", std)):
            if channels is not None and len(channels) != CHANNELS:
                raise ValueError(f"{key}: got {shown(channels)}; takes three numbers")
        for value in std or ():
            check_positive("std", value)
        self.places = list(product(names, severities))
        self._mean, self._std = (
            torch.tensor(x or default, dtype=torch.float64).view(CHANNELS, 1, 1)
            for x, default in ((mean, (0.0,) * CHANNELS), (std, (1.0,) * CHANNELS))
        )
        self._share: Share | None = None
        self._metrics: list[Calibration] = []

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self._share = _share(trainer) if self.is_due(trainer) else None
        self._metrics = [Calibration().to(_metric_device(pl_module)) for _ in self.places]

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Corrupt a batch in each way, and count the answers."""
        if self._share is None or dataloader_idx:
            return
        images, label, index = self._share.take(batch)
        pixels = self._as_bytes(images)
        parameters = parameters_for(*pixels.shape[1:3])
        with _asking(trainer, pl_module):
            ask = _asked(pl_module, pl_module)
            for (name, severity), metric in zip(self.places, self._metrics, strict=True):
                corrupted = corrupt(
                    name, severity, pixels, index.numpy(), seed=SEED, parameters=parameters
                )
                metric.update(ask(self._as_images(corrupted, images)), label.to(metric.device))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what was counted, and draw it."""
        if self._share is None:
            return
        counted = [metric.compute() for metric in self._metrics]
        rows: list[dict[str, Any]] = [
            {"corruption": name, "severity": severity} | {key: values[key] for key in MEASURED}
            for (name, severity), values in zip(self.places, counted, strict=True)
        ]
        means = {key: float(np.mean([row[key] for row in rows])) for key in MEASURED}
        metrics = {
            f"corruption/val/{row['corruption']}/{row['severity']}/{key}": row[key]
            for row in rows
            for key in MEASURED
        }
        metrics |= {f"corruption/val/mean/{key}": value for key, value in means.items()}
        self.log_metrics(pl_module, metrics)
        if trainer.is_global_zero:
            self.show(severities_figure(rows), "corruption", trainer)

    def _as_bytes(self, images: Tensor) -> np.ndarray:
        """Return images, [b, 3, h, w], as uint8 [b, h, w, 3]."""
        pixels = images.cpu()
        if pixels.is_floating_point():
            pixels = ((pixels.double() * self._std + self._mean) * 255).round()
        is_image = pixels.ndim == 4 and pixels.shape[1] == CHANNELS
        is_unit = pixels.dtype == torch.uint8 or bool(((pixels >= 0) & (pixels <= 255)).all())
        if not is_image or not is_unit or pixels.dtype not in (torch.uint8, torch.float64):
            got = f"{images.dtype} {list(images.shape)}"
            if images.numel():
                got += f" from {images.min().item():g} to {images.max().item():g}"
            raise ValueError(
                f"CorruptionMonitor: got images {got}; takes [b, {CHANNELS}, h, w] of uint8, of "
                "floats in [0, 1], or of such with mean= and std= taken out"
            )
        return np.ascontiguousarray(pixels.to(torch.uint8).permute(0, 2, 3, 1).numpy())

    def _as_images(self, pixels: np.ndarray, like: Tensor) -> Tensor:
        """Return uint8 [b, h, w, 3] as images such as others, which `_as_bytes` has read."""
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        if like.is_floating_point():
            images = (images.double() / 255 - self._mean) / self._std
        return images.to(like.device, like.dtype).contiguous()


def _share(trainer: Trainer) -> Share:
    """Return this process's share of the first validation loader."""
    return Share(first_loader(trainer.val_dataloaders), trainer.num_val_batches[0])


def _data(trainer: Trainer) -> ImageDataModule | None:
    """Return mixkd's data, where the trainer has them."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, ImageDataModule) else None


def _metric_device(module: LightningModule) -> torch.device:
    """Return where metrics are counted: with the module, but for Apple's GPUs without float64."""
    return torch.device("cpu") if module.device.type == "mps" else module.device


@contextmanager
def _asking(trainer: Trainer, *networks: Any) -> Iterator[None]:
    """Ask networks as validation does; leave modes and random numbers as they were."""
    device = trainer.strategy.root_device
    with (
        eval_mode(*networks),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        torch.no_grad(),
        trainer.precision_plugin.val_step_context(),
    ):
        yield


def _asked(network: Callable[[Tensor], Any], module: LightningModule) -> Model:
    """Return what gives a network's logits, where metrics are counted, of images from anywhere."""
    return asked(lambda x: logits_of(network(x.to(module.device))), _metric_device(module))
