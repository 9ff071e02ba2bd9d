"""Penultimate features within `mixkd evaluate`: t-SNE, k-means and the V-measure."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from lightning.pytorch import Trainer

from mixkd.config.analyses import FeaturesConfig
from mixkd.config.data import DataConfig
from mixkd.console import say
from mixkd.data.module import ImageDataModule
from mixkd.data.splits import Splits
from mixkd.errors import UserError, nearest
from mixkd.evaluation.feature_probe import FeatureProbe
from mixkd.files.writing import replacing
from mixkd.metrics.features import clusters, embedding, v_measure
from mixkd.networks.network import Network, last_layer
from mixkd.plots.features import features_figure
from mixkd.plots.reliability import save_figure
from mixkd.runs.run import Metrics, Run

PAPERS = ("baby", "boy", "girl", "man", "woman")


def choose_images(cfg: FeaturesConfig, splits: Splits) -> tuple[Splits, list[str]]:
    """Return splits whose test images are those to look at, and the names of their classes.

    Raises:
        UserError: for a class that the data does not have, or too few images.
    """
    known = list(splits.classes)
    names: Sequence[str] = cfg.classes or [name for name in PAPERS if name in known]
    if not cfg.classes and len(names) < len(PAPERS):
        names = known[:5]
    for name in names:
        if name not in known:
            raise UserError.of(
                "features.classes",
                f"got {name!r}; the data has no such class{nearest(name, known)}",
            )
    labels = [known.index(name) for name in names]
    at = np.flatnonzero(np.isin(splits.test.labels.numpy(), labels))
    if len(at) > cfg.n_images:
        at = np.sort(np.random.default_rng(cfg.seed).choice(at, cfg.n_images, replace=False))
    counts = np.bincount(splits.test.labels.numpy()[at], minlength=len(known))[labels]
    if counts.min() < 5:
        few = names[int(counts.argmin())]
        raise UserError.of(
            "features.classes", f"{counts.min()} test images of class {few!r}; takes five of each"
        )
    return replace(splits, test=splits.test.take(at)), list(names)


def look(
    trainer: Trainer,
    network: Network,
    splits: Splits,
    names: Sequence[str],
    data_cfg: DataConfig,
    cfg: FeaturesConfig,
    run: Run,
) -> Metrics:
    """Return `features/v_measure` and `features/n`; write features.npz and a picture.

    Args:
        trainer: where to compute.
        network: whose features.
        splits: whose test images are looked at.
        names: of their classes.
        data_cfg: how images become views.
        cfg: the seed.
        run: where to write.
    """
    say(f"features: {len(splits.test):,} test images of {', '.join(names)}")
    probe = FeatureProbe(network, last_layer(network))
    trainer.test(probe, ImageDataModule(splits, data_cfg), verbose=False)
    found = {name: value.numpy() for name, value in probe.features().items()}
    order = {splits.classes.index(name): k for k, name in enumerate(names)}
    label = np.array([order[int(value)] for value in found["label"]])
    cluster = clusters(found["features"], len(names), cfg.seed)
    score = v_measure(label, cluster)
    if trainer.is_global_zero:
        tsne = embedding(found["features"], cfg.seed)
        path = run.path / "features.npz"
        # `position`: of the label in `classes`.
        more = {"position": label, "cluster": cluster, "tsne": tsne, "classes": np.array(names)}
        arrays = found | more
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        save_figure(features_figure(tsne, label, names, score), run.path / "figures" / "features")
    return {"features/v_measure": score, "features/n": len(label)}
