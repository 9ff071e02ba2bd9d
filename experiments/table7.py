"""Table 7: accuracy on corrupted images, CIFAR-100-C.

Six corruptions at five severities, in percent. The corrupted images are made of the test images
with the published definitions, unless `evaluate.corruptions.source=cifar100_c` takes the published
ones. The paper's rows of ViT-B/16 and ConvNeXt-L have the same four numbers for pixelate.
"""

from collections.abc import Iterator

from mixkd.data.corruption_names import PAPER, SEVERITIES
from mixkd.report.cells import Subject
from mixkd.report.table import NOTES, SEEDS, Column, Table, Value
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison, pair_of_columns
from .paper.students import TEACHERS
from .paper.study import PaperStudy, for_seed

DATASET = "cifar100"
SEVERITY_LEVELS = range(1, SEVERITIES + 1)


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs."""
    plain = study.from_labels(DATASET, "erm")
    for baseline in plain:
        yield baseline
        yield study.evaluated(baseline, "corruptions")
    for teacher in TEACHERS:
        for student in study.distilled(DATASET, teacher, "kd_mixup", "2"):
            yield student
            baselines = {"erm": for_seed(plain, student.seed)}
            yield study.evaluated(student, "corruptions", baselines=baselines)


def render(comparison: Comparison) -> Iterator[Table]:
    """Yield the table."""
    columns = [Column("teacher", "Teacher"), Column("corruption", "Corruption")]
    for severity in SEVERITY_LEVELS:
        columns += pair_of_columns(f"s{severity}", f"S{severity} (%)", 2)
    columns += [
        Column("mean", "Mean (%)", 2),
        Column("ece", "ECE, mean"),
        Column("gain", "Gain over erm (points)", 2, signed=True),
        Column("gain_beyond_clean", "beyond that on clean images", 2, signed=True),
        SEEDS,
        NOTES,
    ]
    rows = []
    for teacher in ("", *TEACHERS):
        subject = Subject(
            DATASET, "student", teacher, *(("kd_mixup", "2") if teacher else ("erm", ""))
        )
        for name in PAPER:
            row: dict[str, Value] = {
                "teacher": comparison.label(teacher) if teacher else "baseline, labels alone",
                "corruption": name,
            }
            path = f"corruption/{name}"
            row |= comparison.both(
                subject,
                {f"s{s}": (f"{path}/{s}/accuracy", 100.0, 2) for s in SEVERITY_LEVELS},
            )
            row["mean"] = comparison.measured(subject, f"{path}/mean/accuracy", 100)
            row["ece"] = comparison.measured(subject, f"{path}/mean/ece")
            row["gain"] = comparison.measured(subject, f"{path}/mean/gain_erm", 100)
            beyond = f"{path}/mean/gain_beyond_clean_erm"
            row["gain_beyond_clean"] = comparison.measured(subject, beyond, 100)
            row["seeds"] = float(len(comparison.results.seeds(subject, "corruptions")))
            row["notes"] = comparison.results.remarks(subject, "corruptions")
            rows.append(row)
    yield Table(
        "table7", "Accuracy on corrupted images", comparison.caption(DATASET), columns, rows
    )
