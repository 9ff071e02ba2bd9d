"""Table 6: gain in linearity and alignment with the teacher, CIFAR-100.

How much more linear a student is between images than its teacher (eq. 15), and how far its answers
are from the teacher's on real and on mixed images. A less confident student has a lower NL anyway:
so the gain is also given over students of the same size, `erm` and `kd`, and after temperature
scaling of both networks. These are means over lambda, with standard errors: a peak is the largest
of noisy values, so it is biased upwards, and never below 0, as real images have a gain of 0: it
would hide that a student is the less linear one.
"""

from collections.abc import Iterator

from mixkd.report.cells import Subject
from mixkd.report.table import NOTES, SEEDS, Column, Table, Value
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison, pair_of_columns
from .paper.runs import beside_teacher
from .paper.study import PaperStudy

DATASET = "cifar100"
TEACHERS = ("resnet152v2", "convnext_large", "vit_b16", "convnext_tiny")
QUANTITIES = {
    "delta_lin_peak": ("vicinal/train/delta_lin_peak", 1.0, 3),
    "kl_real": ("vicinal/train/kl_real", 1.0, 3),
    "kl_mixed": ("vicinal/train/kl_mixed", 1.0, 3),
    "independent_response": ("vicinal/train/independent_response", 1.0, 3),
}
# Means over lambda, each with its standard error.
GAINS = {
    "delta_lin_global": "Mean gain",
    "delta_lin_scaled_global": "Mean gain, scaled",
    "delta_lin_erm_global": "Mean gain over erm",
    "delta_lin_scaled_erm_global": "Mean gain over erm, scaled",
    "delta_lin_kd_global": "Mean gain over kd",
    "delta_lin_scaled_kd_global": "Mean gain over kd, scaled",
}
UNPRINTED = {
    "delta_lin_peak_test": ("vicinal/test/delta_lin_peak", "Peak gain, test"),
    **{
        f"{name}{suffix}": (f"vicinal/train/{name}{suffix}", f"{heading}{more}")
        for name, heading in GAINS.items()
        for suffix, more in (("", ""), ("_se", ", s.e."))
    },
    "mi_bound": ("vicinal/train/mi_bound_mixed", "Bound on MI, mixed (nats)"),
    "mi_paper": ("vicinal/train/mi_paper_mixed", "eq. 10 as printed, mixed"),
}
STANDARD_ERRORS = (
    "paired standard errors over the pairs of images, means of the seeds' own; they say nothing of "
    "other seeds. A peak is biased upwards."
)


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs."""
    yield from study.from_labels(DATASET, "erm")
    for teacher in TEACHERS:
        yield from study.distilled(DATASET, teacher, "kd")
        yield from study.distilled(DATASET, teacher, "kd_mixup", "2")
        yield from beside_teacher(study, DATASET, teacher)


def render(comparison: Comparison) -> Iterator[Table]:
    """Yield the table."""
    columns = [
        Column("teacher", "Teacher"),
        *pair_of_columns("delta_lin_peak", "Peak gain in linearity, train (nats)", 3, signed=True),
        *pair_of_columns("kl_real", "KL real", 3),
        *pair_of_columns("kl_mixed", "KL mixed", 3),
        *pair_of_columns("independent_response", "Independent response", 3),
        *(
            Column(name, heading, 3, signed="gain" in heading and not name.endswith("_se"))
            for name, (_, heading) in UNPRINTED.items()
        ),
        SEEDS,
        NOTES,
    ]
    rows = []
    for teacher in TEACHERS:
        subject = Subject(DATASET, "student", teacher, "kd_mixup", "2")
        row: dict[str, Value] = {"teacher": comparison.label(teacher)}
        row |= comparison.both(subject, QUANTITIES)
        row |= {
            name: comparison.measured(subject, metric) for name, (metric, _) in UNPRINTED.items()
        }
        row["seeds"] = float(len(comparison.results.seeds(subject, "vicinal")))
        row["notes"] = comparison.results.remarks(subject, "vicinal")
        rows.append(row)
    caption = comparison.caption(DATASET, f"s.e.: {STANDARD_ERRORS}")
    yield Table("table6", "Gain in linearity and alignment", caption, columns, rows)
