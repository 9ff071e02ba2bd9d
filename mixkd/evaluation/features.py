"""Penultimate features of test images: t-SNE, k-means and the V-measure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from mixkd.config.analyses import AnalysisConfig
from mixkd.config.fields import NumpySeed, each_once, takes
from mixkd.console import say
from mixkd.errors import UserError, nearest
from mixkd.evaluation.analysis import Analysis, Context
from mixkd.files.writing import write_npz

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mixkd.config.tasks import EvaluateConfig
    from mixkd.data.batches import EvaluationBatch
    from mixkd.data.splits import Splits
    from mixkd.runs.run import Metrics


class FeaturesConfig(AnalysisConfig):
    """Penultimate features of test images: t-SNE, clusters and their V-measure."""

    order = 3
    prefix = "features/"
    is_drawn = True
    files = ("features.npz",)
    arrays = {"features.npz": ("tsne", "position", "classes")}  # noqa: RUF012

    classes: Annotated[
        Annotated[list[str], Field(min_length=2), AfterValidator(each_once)] | None,
        takes("a list of two or more class names, or null"),
    ]
    n_images: Annotated[int, takes("a whole number, 5 or more", ge=5)]
    seed: NumpySeed

    @classmethod
    def are_sound(cls, arrays: Mapping[str, Any]) -> bool:
        """Return whether there are coordinates [n, 2], and a class by its position in names."""
        tsne, position, classes = (arrays[name] for name in cls.arrays["features.npz"])
        return bool(
            tsne.ndim == 2 and tsne.shape[1] == 2 and tsne.dtype.kind == "f"
            and position.shape == (len(tsne),) and position.dtype.kind in "iu"
            and classes.ndim == 1 and classes.dtype.kind == "U" and len(classes) <= len(tsne)
            and np.isfinite(tsne).all()
            and ((position >= 0) & (position < len(classes))).all()
            and (classes.view(np.uint32) <= sys.maxunicode).all()
        )  # fmt: skip

    def forward_images(self, sizes: Mapping[str, int]) -> float:
        """Return how many images a network answers, at most."""
        return self.n_images


class FeaturesAnalysis(Analysis[FeaturesConfig]):
    """Keeps what the last layer sees of test images. Writes features.npz and a picture."""

    def prepare(self, cfg: EvaluateConfig, splits: Splits) -> None:
        """Choose the images, and the names of their classes."""
        from mixkd.data.module import check_shares

        valid = list(splits.classes)
        names = self.section.classes or valid[:5]
        for name in names:
            if name not in valid:
                text = f"got {name!r}; the data has no such class{nearest(name, valid)}"
                raise UserError.of("features.classes", text)
        labels, chosen = splits.test.labels.numpy(), [valid.index(name) for name in names]
        rows, most = np.flatnonzero(np.isin(labels, chosen)), self.section.n_images
        if len(rows) > most:
            generator = np.random.default_rng(self.section.seed)
            rows = np.sort(generator.choice(rows, most, replace=False))
        counts = np.bincount(labels[rows], minlength=len(valid))[chosen]
        if counts.min() < 5:
            few = names[int(counts.argmin())]
            text = f"{counts.min()} test images of class {few!r}; takes five of each"
            raise UserError.of("features.classes", text)
        self.classes, self.splits = list(names), replace(splits, test=splits.test.take(rows))
        check_shares({"test (features)": len(rows)}, cfg.trainer.devices)

    def measure(self, context: Context) -> Metrics:
        """Return `features/v_measure` and `features/n`; write features.npz and a picture."""
        import torch
        from sklearn.metrics import v_measure_score

        from mixkd.data.module import ImageDataModule
        from mixkd.evaluation.one_pass import run_pass
        from mixkd.metrics.features import clusters, embedding
        from mixkd.metrics.measurement import gathered
        from mixkd.networks.features import last_layer
        from mixkd.plots.features import features_figure

        names, seed = self.classes, self.section.seed
        say(f"features: {len(self.splits.test):,} test images of {', '.join(names)}")
        network = context.networks[context.evaluated]
        inputs: list[Tensor] = []  # of the last layer, over the parts in which a batch is answered
        batches: list[dict[str, Tensor]] = []

        def keep(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            inputs.append(arguments[0].detach().flatten(1).float().cpu())

        def update(batch: EvaluationBatch) -> None:
            inputs.clear()
            network(batch.view)
            kept = {"index": batch.index.cpu(), "label": batch.label.cpu()}
            batches.append({"features": torch.cat(inputs), **kept})

        data = ImageDataModule(self.splits, context.cfg.data)
        with last_layer(network, "features").register_forward_pre_hook(keep):
            tensors = run_pass(context.trainer, data, [network], update, lambda: gathered(batches))
        arrays = {name: value.numpy() for name, value in tensors.items()}
        order = {self.splits.classes.index(name): k for k, name in enumerate(names)}
        position = np.array([order[int(label)] for label in arrays["label"]])
        cluster = clusters(arrays["features"], len(names), seed)
        score = float(v_measure_score(position, cluster))
        if context.writes:
            tsne = embedding(arrays["features"], seed)
            # `position`: of the label in `classes`.
            arrays |= {"position": position, "cluster": cluster, "tsne": tsne}
            write_npz(context.run.path / "features.npz", arrays | {"classes": np.array(names)})
            figure = features_figure(tsne, position, names, score)
            context.save_figure(figure, "features")
        return {"features/v_measure": score, "features/n": len(position)}
