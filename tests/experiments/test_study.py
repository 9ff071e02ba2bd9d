"""Studies: the runs of a paper's networks as overrides, and their order."""

from pathlib import Path

import pytest

from experiments.paper.study import PaperStudy, for_seed
from mixkd.report.cells import Subject
from mixkd.reproduction.carry_out import distinct, overrides_of
from mixkd.reproduction.scale import Scale, load_scale
from mixkd.reproduction.study import StudyRun, merged

C = "cifar100"

SCALE = """
about: Small.
seeds: [4, 7]
datasets:
  cifar10: &data {name: digits, words: [data=digits, optimizer.lr=0.5]}
  cifar100: *data
  imagenet:
    name: digits
    words: [data=digits, data.size=16]
    distill: [method.alpha=0.2]
    teachers:
      vit_b16: [network=resnet20, network.args.depth=26, network.weights=vit.pt, trainer.ema=0.9]
teachers:
  vit_b16: {name: ResNet-26, words: [network=resnet20, network.args.depth=26, optimizer.lr=0.1]}
  resnet152v2: {name: ResNet-20, words: [network=resnet20]}
student: {name: ResNet-8, network: resnet20, words: [args.depth=8]}
teaching: [trainer.max_epochs=9]
learning: [trainer.max_epochs=3]
baseline: [stage1.epochs=2]
vicinal: [vicinal.n_pairs=60]
features: [features.n_images=50]
"""


@pytest.fixture
def scale() -> Scale:
    Path("small.yaml").write_text(SCALE)
    return load_scale("small.yaml")


@pytest.fixture
def study(scale: Scale) -> PaperStudy:
    return PaperStudy(scale)


def test_of_overrides_with_one_key_the_last_counts_where_the_first_stood() -> None:
    overrides = ["a=1", "b.c=2", "a=3", "d=x=y", "b.c=4", "b=5"]
    assert merged(overrides) == ("a=3", "b.c=4", "d=x=y", "b=5")


def test_a_teacher_is_trained_once_with_the_first_seed(study: PaperStudy) -> None:
    assert study.teacher(C, "vit_b16") == StudyRun(
        "finetune",
        (
            "protocol=corrected", "data=digits", "optimizer.lr=0.1", "trainer.max_epochs=9",
            "network=resnet20", "network.args.depth=26", "method=erm", "seed=4",
        ),
        subject=Subject(C, "teacher", "vit_b16", "erm"),
        seed=4,
    )  # fmt: skip


def test_a_student_from_labels_is_trained_once_a_seed(study: PaperStudy) -> None:
    first, second = study.from_labels(C, "mixup")
    assert first.overrides == (
        "protocol=corrected", "data=digits", "optimizer.lr=0.5", "network=resnet20",
        "network.args.depth=8", "trainer.max_epochs=3", "stage1.epochs=2", "method=mixup", "seed=4",
    )  # fmt: skip
    assert second.overrides == (*first.overrides[:-1], "seed=7")
    assert first.subject == second.subject == Subject(C, "student", "", "mixup")
    assert (first.command, first.seed, second.seed, first.uses) == ("finetune", 4, 7, ())


def test_a_student_uses_the_run_of_its_teacher(study: PaperStudy) -> None:
    first, second = study.distilled(C, "vit_b16", "kd", "sigma")
    assert first.overrides == (
        "protocol=corrected", "data=digits", "optimizer.lr=0.5", "student=resnet20",
        "student.args.depth=8", "trainer.max_epochs=3", "method=kd", "temperature=sigma", "seed=4",
    )  # fmt: skip
    assert first.uses == second.uses == (("teacher.run", study.teacher(C, "vit_b16")),)
    assert first.subject == Subject(C, "student", "vit_b16", "kd", "sigma")
    assert (first.command, second.seed) == ("distill", 7)


def test_a_student_may_learn_from_a_teacher_trained_with_mixup(study: PaperStudy) -> None:
    student = study.distilled(C, "resnet152v2", "kd_mixup", "2", "mixup")[0]
    ((key, teacher),) = student.uses
    assert key == "teacher.run"
    assert "method=mixup" in teacher.overrides
    assert teacher.subject == Subject(C, "teacher", "resnet152v2", "mixup")
    assert student.subject == Subject(C, "student", "resnet152v2+mixup", "kd_mixup", "2")
    plain = study.distilled(C, "resnet152v2")[0]
    assert student.overrides == plain.overrides
    assert student.job != plain.job


def test_a_data_set_has_overrides_of_its_own_for_distillation(study: PaperStudy) -> None:
    assert "method.alpha=0.2" in study.distilled("imagenet", "resnet152v2")[0].overrides
    assert "method.alpha=0.2" not in study.distilled(C, "resnet152v2")[0].overrides
    assert "method.alpha=0.2" not in study.from_labels("imagenet", "erm")[0].overrides


def test_a_teacher_with_weights_is_evaluated_and_named_in_its_students_words(
    study: PaperStudy,
) -> None:
    teacher = study.teacher("imagenet", "vit_b16")
    assert teacher == StudyRun(
        "evaluate",
        (
            "network=resnet20", "network.args.depth=26", "network.weights=vit.pt", "data=digits",
            "data.size=16",
        ),
        subject=Subject("imagenet", "teacher", "vit_b16", "erm"),
        seed=4,
    )  # fmt: skip
    student = study.distilled("imagenet", "vit_b16")[0]
    assert student.uses == ()
    assert student.overrides == (
        "protocol=corrected", "data=digits", "data.size=16", "student=resnet20",
        "student.args.depth=8", "trainer.max_epochs=3", "teacher=resnet20",
        "teacher.args.depth=26", "teacher.weights=vit.pt", "method.alpha=0.2", "method=kd_mixup",
        "temperature=2", "seed=4",
    )  # fmt: skip
    assert not study.has_mixup_teacher("imagenet", "vit_b16")
    assert study.has_mixup_teacher("imagenet", "resnet152v2")
    assert study.has_mixup_teacher(C, "vit_b16")


def test_an_evaluation_uses_the_runs_that_it_measures(study: PaperStudy) -> None:
    student = study.distilled(C, "vit_b16")[1]
    teacher, plain = study.teacher(C, "vit_b16"), study.from_labels(C, "erm")
    evaluation = study.evaluated(student, "vicinal", teacher, {"erm": plain[1], "kd": plain[0]})
    assert (evaluation.command, evaluation.kind, evaluation.seed) == ("evaluate", "vicinal", 7)
    assert evaluation.overrides == ("vicinal.n_pairs=60", "vicinal=true")
    assert evaluation.uses == (
        ("network.run", student), ("teacher.run", teacher), ("baselines.erm", plain[1]),
        ("baselines.kd", plain[0]),
    )  # fmt: skip
    assert evaluation.subject == student.subject
    assert study.evaluated(student, "corruptions").overrides == ("corruptions=true",)


def test_an_evaluation_of_a_network_with_weights_names_it_and_the_data(study: PaperStudy) -> None:
    teacher = study.teacher("imagenet", "vit_b16")
    evaluation = study.evaluated(teacher, "features")
    assert evaluation.uses == ()
    assert evaluation.overrides == (
        "features.n_images=50", "features=true", "network=resnet20", "network.args.depth=26",
        "network.weights=vit.pt", "data=digits", "data.size=16",
    )  # fmt: skip
    student = study.distilled("imagenet", "vit_b16")[0]
    with_teacher = study.evaluated(student, "vicinal", teacher)
    assert with_teacher.uses == (("network.run", student),)
    assert with_teacher.overrides == (
        "vicinal.n_pairs=60", "vicinal=true", "teacher=resnet20", "teacher.args.depth=26",
        "teacher.weights=vit.pt",
    )  # fmt: skip


def test_the_users_overrides_come_last_for_each_command(scale: Scale) -> None:
    overrides = {
        "finetune": ["optimizer.lr=7", "data.root=DIR"],
        "distill": ["trainer.clip_norm=1"],
        "evaluate": ["vicinal.n_pairs=5", "splits=[val]"],
    }
    study = PaperStudy(scale, overrides)
    teacher = study.teacher(C, "vit_b16")
    assert teacher.overrides[2] == "optimizer.lr=7"  # where the scale's stood
    assert teacher.overrides[-1] == "data.root=DIR"
    student = study.distilled(C, "vit_b16")[0]
    assert "optimizer.lr=0.5" in student.overrides
    assert student.overrides[-1] == "trainer.clip_norm=1"
    assert student.uses[0][1] == teacher
    evaluation = study.evaluated(student, "vicinal", teacher)
    assert evaluation.overrides == ("vicinal.n_pairs=5", "vicinal=true", "splits=[val]")


def test_a_network_with_weights_is_measured_on_the_data_of_the_users_trainings(
    scale: Scale,
) -> None:
    study = PaperStudy(
        scale, {"finetune": ["data.root=DIR", "optimizer.lr=7"], "evaluate": ["seed=1"]}
    )
    teacher = study.teacher("imagenet", "vit_b16")
    assert teacher.overrides[-3:] == ("data.size=16", "data.root=DIR", "seed=1")
    assert study.evaluated(teacher, "features").overrides[-2:] == ("data.root=DIR", "seed=1")


def test_what_is_used_comes_first_and_each_run_once(study: PaperStudy) -> None:
    teacher, plain = study.teacher(C, "vit_b16"), study.from_labels(C, "erm")
    students = study.distilled(C, "vit_b16")
    evaluations = [
        study.evaluated(s, "vicinal", teacher, {"erm": for_seed(plain, s.seed)}) for s in students
    ]
    assert [run.depth for run in (teacher, *students, *evaluations)] == [0, 1, 1, 2, 2]
    assert study.evaluated(teacher, "features").depth == 1
    features = study.evaluated(students[0], "features")
    assert distinct([features]) == [teacher, students[0], features]
    ordered = distinct([*evaluations, *students, *evaluations[:1]])
    assert ordered == [teacher, plain[0], plain[1], *students, *evaluations]


def test_equal_runs_are_one_though_for_two_data_sets(study: PaperStudy) -> None:
    ten, hundred = (study.distilled(name, "vit_b16") for name in ("cifar10", C))
    assert ten[0] != hundred[0]
    assert ten[0].job == hundred[0].job
    assert len(distinct([*ten, *hundred])) == 3  # a teacher and two seeds
    other = study.distilled("imagenet", "resnet152v2")
    assert len(distinct([*ten, *hundred, *other])) == 6


def test_for_want_of_a_seed_the_first_one_is_taken(study: PaperStudy) -> None:
    runs = study.from_labels(C, "erm")
    assert for_seed(runs, 7) is runs[1]
    assert for_seed(runs, 5) is runs[0]


def test_the_overrides_of_a_run_name_the_directories_of_those_that_it_uses(
    study: PaperStudy,
) -> None:
    student = study.distilled(C, "vit_b16")[0]
    assert overrides_of(student, {"teacher.run": "runs/t"}, Path("runs")) == (
        *student.overrides, "teacher.run=runs/t", "run.root=runs",
    )  # fmt: skip
