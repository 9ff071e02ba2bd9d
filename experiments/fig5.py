"""Figure 5: gain in linearity of the students over their teachers, CIFAR-100.

The teacher's non-linearity less the student's (eq. 15) over the weight of the first image, means
over seeds. The paper's Table 6 prints peaks that are 0.016 to 0.032 nats lower than this figure's.
A peak is the largest of noisy values, so it is biased upwards and never below the 0 of real images;
the mean over lambda and the gain at lambda = 0.5 are not, and have standard errors.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean

from mixkd.report.cells import Cell, Subject
from mixkd.report.sections import Drawing
from mixkd.report.table import NOTES, SEEDS, Column, Table, Value
from mixkd.reproduction.study import StudyRun

from . import table6
from .paper.comparison import Comparison, pair_of_columns
from .paper.figures.linearity_gain import (
    linearity_gain,
    linearity_gain_errors,
    linearity_gain_figure,
)
from .paper.study import PaperStudy

DATASET = "cifar100"
METRIC = "vicinal/train/delta_lin_peak"
MEAN = "vicinal/train/delta_lin_global"
UNBIASED = {"halfway": "Gain at λ = 0.5", "mean": "Mean gain over λ"}  # that no noise makes larger


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs: those of Table 6."""
    yield from table6.runs(study)


def render(comparison: Comparison) -> Iterator[Table | Drawing]:
    """Yield the figure, and its peaks."""
    gains, errors, printed, rows, paths = {}, {}, {}, [], []
    for teacher in table6.TEACHERS:
        subject, name = (
            Subject(DATASET, "student", teacher, "kd_mixup", "2"),
            comparison.label(teacher),
        )
        of_seeds, errors_of_seeds = [], []
        for run in comparison.results.runs(subject, "vicinal").values():
            lines = [line for line in run.rows("vicinal.csv") if line["split"] == "train"]
            pair = [[x for x in lines if x["network"] == who] for who in ("teacher", "student")]
            of_seeds.append(linearity_gain(*pair))
            errors_of_seeds.append(linearity_gain_errors(pair[1]))
            paths.append(run.path)
        gains[name], errors[name] = _mean_curve(of_seeds), _mean_curve(errors_of_seeds)
        if (peak := comparison.printed_here(subject, METRIC)) is not None:
            printed[name] = peak
        row: dict[str, Value] = {
            "teacher": name,
            **comparison.both(subject, {"peak": (METRIC, 1.0, 3)}),
        }
        row["drawn"] = max(gains[name].values(), default=None)
        halfway = {seed: curve[0.5] for seed, curve in enumerate(of_seeds) if 0.5 in curve}
        row["halfway"] = Cell(halfway).number() if halfway else None
        row["halfway_se"] = errors[name].get(0.5)
        row["mean"] = comparison.measured(subject, MEAN)
        row["mean_se"] = comparison.measured(subject, f"{MEAN}_se")
        row["seeds"] = float(len(of_seeds))
        row["notes"] = comparison.results.remarks(subject, "vicinal")
        rows.append(row)
    caption = comparison.caption(DATASET, f"s.e. and bands: {table6.STANDARD_ERRORS}")
    figure = linearity_gain_figure(gains, printed, errors)
    yield Drawing("fig5", "Gain in linearity", caption, figure, tuple(paths))
    columns = [
        Column("teacher", "Teacher"),
        *pair_of_columns("peak", "Peak gain, mean of the seeds' (nats)", 3, signed=True),
        Column("drawn", "Peak of the mean curve, as drawn", 3, signed=True),
        *(
            Column(f"{name}{suffix}", f"{heading}{more} (nats)", 3, signed=not suffix)
            for name, heading in UNBIASED.items()
            for suffix, more in (("", ""), ("_se", ", s.e."))
        ),
        SEEDS,
        NOTES,
    ]
    yield Table("fig5-numbers", "Peaks of Figure 5", caption, columns, rows)


def _mean_curve(curves: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """Return the mean of curves over lambda, at the lambdas of them all."""
    lambdas = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    return {lam: mean(curve[lam] for curve in curves) for lam in lambdas}
