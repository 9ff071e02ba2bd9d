"""Table 8: what mixing, a teacher, its temperature and its calibration change. Not in the paper.

Contrasts that were chosen before any student was trained. Each is a difference between two
settings that differ in one thing, of accuracy, ECE, and ECE after temperature scaling, paired by
seed. The first family asks what mixing, a teacher and a temperature do; the second what a teacher's
calibration does to its student. p-values are corrected within a family after Holm.
"""

from collections.abc import Iterator

from mixkd.report.cells import Subject
from mixkd.report.table import Column, Number, Table, Value
from mixkd.reproduction.study import StudyRun

from .fig11 import DATASET, MAIN, OTHERS
from .fig11 import runs as runs_of_students
from .paper.comparison import Comparison
from .paper.contrasts import Contrast, contrast, holm
from .paper.study import PaperStudy

METRICS = {
    "test/accuracy": "accuracy",
    "test/ece": "ECE",
    "test/scaled/ece": "ECE, scaled",
}


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs: those of Figure 11."""
    yield from runs_of_students(study)


def render(comparison: Comparison) -> Iterator[Table]:
    """Yield the table: a row a contrast and metric."""
    rows: list[dict[str, Value]] = []
    for family, contrasts in families(comparison).items():
        tested: list[tuple[dict[str, Value], Contrast]] = []
        for name, (minuend, subtrahend) in contrasts.items():
            if any(map(comparison.results.is_left_out, (minuend, subtrahend))):
                continue  # no contrast of this scale
            for metric, label in METRICS.items():
                row: dict[str, Value] = {"family": family, "contrast": name, "metric": label}
                rows.append(row)
                cells = [comparison.results.cell(s, metric) for s in (minuend, subtrahend)]
                result = contrast(*(cell.by_seed if cell else {} for cell in cells))
                if result is not None:
                    runs_of_both = tuple(run for cell in cells if cell for run in cell.runs)
                    row["difference"] = Number(result.mean, runs=runs_of_both)
                    tested.append((row, result))
        corrected = holm([result.p for _, result in tested])
        for (row, result), p in zip(tested, corrected, strict=True):
            row |= {"low": result.low, "high": result.high, "p": p}
            row |= {"detectable": result.detectable, "seeds": float(result.seeds)}
    caption = comparison.caption(
        DATASET,
        "Differences paired by seed; intervals by Student's t over seeds, not corrected; p by "
        "Student's t, corrected after Holm within a family. Detectable: the true difference that "
        "so many seeds would find at 5 %, uncorrected, in about 80 of 100, by their spread.",
    )
    columns = [
        Column("family", "Asks what changes with"),
        Column("contrast", "Contrast"),
        Column("metric", "Metric"),
        Column("difference", "Difference", 4),
        Column("low", "95% low", 4),
        Column("high", "95% high", 4),
        Column("p", "p, Holm", 3),
        Column("detectable", "Detectable", 4),
        Column("seeds", "Seeds", 0),
    ]
    yield Table("table8", "Contrasts between students", caption, columns, rows)


def families(comparison: Comparison) -> dict[str, dict[str, tuple[Subject, Subject]]]:
    """Return family -> name of a contrast -> the setting, and the one that is taken away."""

    def student(method: str, temperature: str = "", teacher: str = MAIN) -> Subject:
        return Subject(DATASET, "student", teacher if temperature else "", method, temperature)

    def mixed(teacher: str) -> Subject:
        return student("kd_mixup", "1", teacher)

    erm, mixup = student("erm"), student("mixup")
    kd = {t: student("kd", t) for t in ("1", "4")}
    kd_mixup = {t: student("kd_mixup", t) for t in ("1", "4")}
    return {
        "mixing, a teacher, a temperature": {
            "mixup - erm": (mixup, erm),
            "kd, T = 1 - erm": (kd["1"], erm),
            "kd, T = 4 - erm": (kd["4"], erm),
            "kd_mixup, T = 1 - mixup": (kd_mixup["1"], mixup),
            "kd_mixup - kd, T = 1": (kd_mixup["1"], kd["1"]),
            "kd_mixup - kd, T = 4": (kd_mixup["4"], kd["4"]),
            "kd, T = 4 - T = 1": (kd["4"], kd["1"]),
            "kd_mixup, T = 4 - T = 1": (kd_mixup["4"], kd_mixup["1"]),
        },
        "the teacher's calibration": {
            f"of {comparison.label(teacher)} - of {comparison.label(MAIN)}": (
                mixed(teacher), mixed(MAIN)
            )
            for teacher in (f"{MAIN}+mixup", *OTHERS)
        },
    }  # fmt: skip
