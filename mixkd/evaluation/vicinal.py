"""Vicinal analysis within `mixkd evaluate`: how networks answer between pairs of images."""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Trainer

from mixkd.config.analyses import VicinalConfig
from mixkd.console import say
from mixkd.data.module import ImageDataModule
from mixkd.data.pairs import ImagePairs, draw_pairs, load_pairs
from mixkd.errors import UserError
from mixkd.evaluation.vicinal_probe import VicinalProbe
from mixkd.files.writing import write_csv
from mixkd.networks.network import Network
from mixkd.plots.style import save_figure
from mixkd.plots.vicinal import vicinal_figure
from mixkd.runs.run import Metrics, Run

COLUMNS = (
    "split", "network", "lam", "nl", "nl_se", "entropy", "entropy_se", "dominance",
    "dominance_median", "linearity_information", "entropy_gap", "kl_teacher_student", "kl_se",
    "mi_bound", "n_pairs", "nl_scaled", "nl_scaled_se", "delta_lin", "delta_lin_se",
    "delta_lin_scaled", "delta_lin_scaled_se",
)  # fmt: skip


def choose_pairs(cfg: VicinalConfig, sizes: dict[str, int], devices: int) -> dict[str, ImagePairs]:
    """Return the pairs of each split: read or drawn, the same for every network.

    Args:
        cfg: how many, and from where.
        sizes: images of each split.
        devices: processes that share the pairs.

    Raises:
        UserError: if a split has too few images, or a file of pairs does not fit.
    """
    for split, n in sizes.items():
        if n < 2:
            raise UserError.of("vicinal.splits", f"{split} has {n} images; takes two or more")
    if cfg.pairs is None:
        pairs = {split: draw_pairs(n, cfg.n_pairs, cfg.seed) for split, n in sizes.items()}
    else:
        pairs = load_pairs(Path(cfg.pairs), sizes, cfg.n_pairs, cfg.seed)
    for split, chosen in pairs.items():
        if len(np.unique(np.concatenate(chosen))) < 2 * len(chosen.i):
            say(f"vicinal: pairs of {split} share images, which their standard errors do not count")
    fewest = min(len(chosen.i) for chosen in pairs.values())
    if fewest < devices:
        raise UserError.of("trainer.devices", f"got {devices} for {fewest} pairs; takes fewer")
    return pairs


def analyse(
    trainer: Trainer,
    networks: Mapping[str, Network],
    data: ImageDataModule,
    pairs: Mapping[str, ImagePairs],
    cfg: VicinalConfig,
    temperatures: Mapping[str, float],
    run: Run,
) -> Metrics:
    """Return `vicinal/<split>/...`; write vicinal.csv and a figure a split.

    Args:
        trainer: where to compute.
        networks: `network`, or `student` and `teacher`; any others are baselines.
        data: the images.
        pairs: of each split.
        cfg: the grid of lambda.
        temperatures: fitted for each network; empty where there was nothing to fit on.
        run: where to write.
    """
    lambdas = np.linspace(0, 1, cfg.lambdas).tolist()
    probe = VicinalProbe(networks, lambdas, temperatures)
    metrics: Metrics = {}
    table: list[dict[str, Any]] = []
    for split, chosen in pairs.items():
        say(f"vicinal: {len(chosen.i):,} pairs of {split} images, {cfg.lambdas} lambdas")
        data.tested, data.pairs = split, chosen
        trainer.test(probe, data, verbose=False)
        data.pairs = None
        rows, found = probe.summary()
        metrics |= {f"vicinal/{split}/{key}": value for key, value in found.items()}
        for name, own in rows.items():
            table += [{"split": split, "network": name, **row} for row in own]
        if trainer.is_global_zero:
            save_figure(vicinal_figure(rows), run.path / "figures" / f"vicinal-{split}")
    if trainer.is_global_zero:
        blank = dict.fromkeys(chain(COLUMNS, *table), "")  # beside them the gains over baselines
        write_csv(run.path / "vicinal.csv", [blank | row for row in table])
    return metrics
