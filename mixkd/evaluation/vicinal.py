"""Vicinal analysis: how networks answer between pairs of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from mixkd.config.analyses import AnalysisConfig
from mixkd.config.fields import PATH, Count, Lambdas, NumpySeed, SplitNames, takes
from mixkd.console import say
from mixkd.data.pairs import are_drawn_pairs, load_pairs
from mixkd.errors import UserError
from mixkd.evaluation.analysis import Analysis, Context
from mixkd.files.writing import file_fingerprint, write_csv

if TYPE_CHECKING:
    from mixkd.config.tasks import EvaluateConfig
    from mixkd.data.splits import Splits
    from mixkd.runs.read import FoundRun
    from mixkd.runs.run import Metrics

COLUMNS = (
    "split", "network", "lam", "nl", "nl_se", "entropy", "entropy_se", "dominance",
    "dominance_median", "linearity_information", "entropy_gap", "kl_teacher_student", "kl_se",
    "mi_bound", "n_pairs", "nl_scaled", "nl_scaled_se", "delta_lin", "delta_lin_se",
    "delta_lin_scaled", "delta_lin_scaled_se",
)  # fmt: skip

Rows = Sequence[Mapping[str, Any]]  # of vicinal.csv


class VicinalConfig(AnalysisConfig):
    """Vicinal analysis: how networks answer between pairs of images."""

    order = 1
    prefix = "vicinal/"
    is_drawn = True
    files = ("vicinal.csv",)
    columns = {"vicinal.csv": (("split", "network"), ("lam",))}  # noqa: RUF012
    shared_question = "between images"
    is_for_baselines = True

    splits: SplitNames
    n_pairs: Count
    lambdas: Lambdas
    seed: NumpySeed
    pairs: Annotated[str | None, PATH, takes("a .npz file of pairs, or null")]

    def identity(self, keys: dict[str, Any]) -> dict[str, Any]:
        """Return its keys; a file of pairs by what is in it, unless they are, or will be, drawn."""
        if self.pairs is None:
            return keys
        path = Path(self.pairs)
        drawn = not path.is_file() or are_drawn_pairs(path, self.seed, self.n_pairs)
        return keys | {"pairs": "drawn" if drawn else file_fingerprint(path)}

    def forward_images(self, sizes: Mapping[str, int]) -> float:
        """Return how many images a network answers: one a pair and lambda, of each split."""
        return len(self.splits) * self.n_pairs * self.lambdas


class VicinalAnalysis(Analysis[VicinalConfig]):
    """Asks all networks about the same mixed images, over a grid of lambda.

    Writes vicinal.csv, with the gains over baselines in columns of their own, and a figure a split.
    """

    def prepare(self, cfg: EvaluateConfig, splits: Splits) -> None:
        """Draw or read the pairs of each split, the same for every network."""
        sizes = {str(split): len(splits[split]) for split in self.section.splits}
        for split, n in sizes.items():
            if n < 2:
                raise UserError.of("vicinal.splits", f"{split} has {n} images; takes two or more")
        path = None if self.section.pairs is None else Path(self.section.pairs)
        self.pairs = load_pairs(path, sizes, self.section.n_pairs, self.section.seed)
        for split, pairs in self.pairs.items():
            if len(np.unique(np.concatenate(pairs))) < 2 * len(pairs.i):
                text = "share images, which their standard errors do not count"
                say(f"vicinal: pairs of {split} {text}")
        fewest, devices = min(len(pairs.i) for pairs in self.pairs.values()), cfg.trainer.devices
        if fewest < devices:
            raise UserError.of("trainer.devices", f"got {devices} for {fewest} pairs; takes fewer")

    @classmethod
    def derived(cls, run: FoundRun) -> dict[str, float]:
        """Return gains at each lambda, which old metrics.json have not, and dominance half-way."""
        rows = run.rows("vicinal.csv")
        half_way = {f"vicinal/{name}": _half_way(line) for name, line in _dominance(rows).items()}
        return _gains(rows) | {name: value for name, value in half_way.items() if isfinite(value)}

    def measure(self, context: Context) -> Metrics:
        """Return `vicinal/<split>/...`; write vicinal.csv and a figure a split."""
        from mixkd.evaluation.one_pass import run_pass
        from mixkd.metrics.vicinal import VicinalLinearity, answers_between
        from mixkd.plots.vicinal import vicinal_figure

        data, networks = context.data, context.networks
        lambdas = np.linspace(0, 1, self.section.lambdas).tolist()
        metrics: Metrics = {}
        table: list[dict[str, Any]] = []
        for split, pairs in self.pairs.items():
            say(f"vicinal: {len(pairs.i):,} pairs of {split} images, {len(lambdas)} lambdas")
            metric = VicinalLinearity(tuple(networks), lambdas, context.temperatures)

            def update(batch: Any, metric: VicinalLinearity = metric) -> None:
                answers = answers_between(networks, batch.first, batch.second, lambdas)
                metric.update(answers, batch.position)

            data.tested, data.pairs = split, pairs
            parts = (*networks.values(), metric)
            rows, values = run_pass(context.trainer, data, parts, update, metric.compute)
            data.pairs = None
            metrics |= {f"vicinal/{split}/{key}": value for key, value in values.items()}
            for name, of_network in rows.items():
                table += [{"split": split, "network": name, **row} for row in of_network]
            if context.writes:
                context.save_figure(vicinal_figure(rows), f"vicinal-{split}")
        if context.writes:
            blank = dict.fromkeys(chain(COLUMNS, *table), "")
            write_csv(context.run.path / "vicinal.csv", [blank | row for row in table])
        return metrics


def _gains(rows: Rows) -> dict[str, float]:
    """Return a student's gains in linearity at each lambda: old metrics.json have none."""
    nl: dict[tuple[Any, Any], dict[Any, float]] = {}
    for row in rows:
        if isinstance(value := row.get("nl"), float) and isfinite(value):
            nl.setdefault((row["split"], row["lam"]), {})[row["network"]] = value
    return {
        f"vicinal/{split}/delta_lin_at_{lam:g}": of["teacher"] - of["student"]
        for (split, lam), of in nl.items()
        if {"teacher", "student"} <= of.keys()
    }


def _dominance(rows: Rows) -> dict[str, dict[float, float]]:
    """Return the dominance of the network that is evaluated by lambda, by split/dominance_half.

    Beside it by split/dominance_half_se its standard error at most: NL and entropy are of the same
    pairs, and how their errors go together is not kept.
    """
    lines: dict[str, dict[float, float]] = {}
    for row in rows:
        lam, value = row.get("lam"), row.get("dominance")
        is_evaluated = row.get("network") in ("student", "network")
        if not (is_evaluated and isinstance(lam, float) and isinstance(value, float)):
            continue
        name = f"{row.get('split')}/dominance_half"
        lines.setdefault(name, {})[lam] = value
        parts = [row.get(column) for column in ("nl_se", "entropy_se", "entropy")]
        nl_se, entropy_se, entropy = (p if isinstance(p, float) else nan for p in parts)
        if entropy > 0:
            lines.setdefault(f"{name}_se", {})[lam] = (nl_se + value * entropy_se) / entropy
    return lines


def _half_way(line: Mapping[float, float]) -> float:
    """Return a value at lambda = 0.5; of an even number of lambdas, between the two beside it.

    NaN where one of them is not there.
    """
    if 0.5 in line:
        return line[0.5]
    below = max((lam for lam in line if 0 < lam < 0.5), default=None)
    above = min((lam for lam in line if 0.5 < lam < 1), default=None)
    if below is None or above is None:
        return nan
    part = (0.5 - below) / (above - below)
    return line[below] * (1 - part) + line[above] * part
