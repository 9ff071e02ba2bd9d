"""Corrupted test images within `mixkd evaluate`: accuracy, confidence, ECE, gains (Table 7)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer

from mixkd.config.data import DataConfig
from mixkd.config.tasks import EvaluateConfig
from mixkd.console import say
from mixkd.data.corrupted import PUBLISHED, read_arrays, read_folders
from mixkd.data.images import AnyImages, Images
from mixkd.data.make_corrupted import make_corrupted
from mixkd.data.module import ImageDataModule
from mixkd.data.splits import Splits, load_splits
from mixkd.errors import UserError
from mixkd.evaluation.corruption_probe import CorruptionProbe
from mixkd.files.writing import write_csv
from mixkd.metrics.robustness import accuracy_gain, mean_of
from mixkd.networks.network import Network
from mixkd.plots.corruptions import corruptions_figure
from mixkd.plots.reliability import save_figure
from mixkd.runs.run import Metrics, Run

FIRST = ("network", "corruption", "severity")
FIGURES = {"accuracy": "accuracy", "ece": "ECE", "confidence": "confidence"}

Load = Callable[[str, int], tuple[AnyImages, DataConfig]]


def made_images(cfg: EvaluateConfig, splits: Splits) -> Load:
    """Return a function of (corruption, severity): images made of the test images, and their views.

    Those that are missing are made now.
    """
    wanted = cfg.corruptions
    folder = make_corrupted(splits.test, splits.classes, wanted.chosen, cfg.data, wanted.seed)

    def made(name: str, severity: int) -> tuple[AnyImages, DataConfig]:
        if isinstance(splits.test, Images):
            images = read_arrays(folder, name, severity, len(splits.classes))
            return images, cfg.data.model_copy(update={"workers": 0})
        place = cfg.published(name, severity, "imagenet_c", size=splits.test.stored[0])
        return read_folders(folder, place, by_content=False)[0], cfg.data

    return made


def published_images(cfg: EvaluateConfig, splits: Splits) -> Load:
    """Return a function of (corruption, severity): published images, and their views.

    They are downloaded where they can be, and looked at: what is missing is found before anything
    is computed.

    Raises:
        UserError: if they are absent, or of other classes than the data.
    """
    wanted = cfg.corruptions

    def check(classes: tuple[str, ...]) -> None:
        if classes != splits.classes:
            raise UserError.of(
                "corruptions.source",
                f"{wanted.source} has {len(classes)} classes, {', '.join(classes[:3])} ...; the "
                f"data has {len(splits.classes)}, {', '.join(splits.classes[:3])} ...",
            )

    def published(name: str, severity: int) -> tuple[AnyImages, DataConfig]:
        data = cfg.published(name, severity, wanted.source)
        try:
            found = load_splits(data)
        except UserError as error:
            key = error.problems[0].key.replace("data.", "corruptions.")
            raise UserError.of(key, error.problems[0].text) from error
        check(found.classes)
        return found.test, data

    if wanted.source in PUBLISHED:  # before anything is downloaded
        check(PUBLISHED[wanted.source].classes)
    for name in wanted.chosen:
        for severity in wanted.severities:
            published(name, severity)
    return published


def corrupt_and_measure(
    trainer: Trainer,
    networks: Mapping[str, Network],
    splits: Splits,
    load: Load,
    cfg: EvaluateConfig,
    temperatures: Mapping[str, float],
    run: Run,
) -> Metrics:
    """Return `corruption/...` of the first network; write corruptions.csv and figures of all.

    Args:
        trainer: where to compute.
        networks: by name; the first is the one that gains are of, over those in `baselines`.
        splits: whose test images are the clean ones.
        load: gives the images of a corruption and severity.
        cfg: which corruptions, severities and baselines.
        temperatures: fitted for each network; empty where there was nothing to fit on.
        run: where to write.
    """
    wanted, own = cfg.corruptions, next(iter(networks))
    probe = CorruptionProbe(networks, temperatures)

    def measured(
        images: AnyImages, data: DataConfig
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        trainer.test(probe, ImageDataModule(replace(splits, test=images), data), verbose=False)
        return probe.values(), probe.hits()

    # Whether they are the test images, one by one: not where they come from elsewhere in any order.
    first = load(wanted.chosen[0], wanted.severities[0])[0]
    paired = torch.equal(first.labels, splits.test.labels)
    found, clean = measured(splits.test, cfg.data)
    rows: list[dict[str, Any]] = []
    metrics: Metrics = {}

    def add(name: str, severity: int | str, values: dict[str, Any], hits: Any, key: str) -> None:
        gains: Metrics = {}
        for baseline in cfg.baselines:
            before = None if name == "clean" else (clean[own], clean[baseline])
            gain = accuracy_gain(hits[own], hits[baseline], before, paired=paired)
            gains |= {f"{k}_{baseline}": value for k, value in gain.items()}
        for network, own_values in values.items():
            row = {"network": network, "corruption": name, "severity": severity, **own_values}
            rows.append(row | (gains if network == own else {}))
        metrics.update({f"{key}/{k}": v for k, v in (values[own] | gains).items()})

    add("clean", 0, found, clean, "corruption/clean")
    everything: list[tuple[dict[str, Any], dict[str, np.ndarray]]] = []
    for number, name in enumerate(wanted.chosen, start=1):
        group = [measured(*load(name, severity)) for severity in wanted.severities]
        for severity, (values, hits) in zip(wanted.severities, group, strict=True):
            add(name, severity, values, hits, f"corruption/{name}/{severity}")
        mean, hits = _mean(group)
        add(name, "mean", mean, hits, f"corruption/{name}/mean")
        say(
            f"corruption {number}/{len(wanted.chosen)} {name}: accuracy "
            f"{mean[own]['accuracy']:.4f}, ece {mean[own]['ece']:.4f} over severities"
        )
        everything += group
    mean, hits = _mean(everything)
    add("mean", "mean", mean, hits, "corruption/mean")
    if trainer.is_global_zero:
        columns = dict.fromkeys(FIRST) | {name: "" for row in rows for name in row}
        write_csv(run.path / "corruptions.csv", [columns | row for row in rows])
        for column, label in FIGURES.items():
            figure = corruptions_figure(rows, column, label)
            save_figure(figure, run.path / "figures" / f"corruptions-{column}")
    return metrics


def _mean(
    group: list[tuple[dict[str, Any], dict[str, np.ndarray]]],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return each network's mean over sets of images, and for each image the share it got right."""
    values = {name: mean_of([found[name] for found, _ in group]) for name in group[0][0]}
    hits = {name: np.mean([hit[name] for _, hit in group], axis=0) for name in group[0][1]}
    return values, hits
