"""Runs that several artefacts need."""

from mixkd.reproduction.study import StudyRun

from .study import PaperStudy, for_seed


def beside_teacher(study: PaperStudy, dataset: str, teacher: str) -> list[StudyRun]:
    """Return vicinal analyses of mixup students at T = 2, one a seed.

    Each is asked beside its teacher, and beside the students of its seed that learned from labels
    alone (`erm`) and without mixing (`kd`).

    Args:
        study: makes the runs.
        dataset: as the paper names it.
        teacher: as the paper names it.
    """
    plain, distilled = study.from_labels(dataset, "erm"), study.distilled(dataset, teacher, "kd")
    return [
        study.evaluated(
            student,
            "vicinal",
            study.teacher(dataset, teacher),
            {"erm": for_seed(plain, student.seed), "kd": for_seed(distilled, student.seed)},
        )
        for student in study.distilled(dataset, teacher, "kd_mixup", "2")
    ]
