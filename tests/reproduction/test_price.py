"""The price of runs: images, seconds and bytes, against values by hand and a real run."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from experiments.paper.study import PaperStudy
from mixkd.config.network import NetworkConfig
from mixkd.config.tasks import FinetuneConfig
from mixkd.data.splits import load_splits
from mixkd.reproduction import speed
from mixkd.reproduction.price import Model, Price, Speed, Work, price, work_of
from mixkd.reproduction.scale import load_scale
from mixkd.reproduction.study import StudyRun
from mixkd.request import request
from mixkd.runs.run import Run
from mixkd.tasks.finetune import finetune

C = "cifar100"

# Smoke: 600 training, 200 test images; of the 135 that are held out of 1,347, 600 in 1,212.
TRAIN, VAL, TEST, EPOCHS = 600, 67, 200, 4
TEACHER, STUDENT = Speed(100, 400, 464_154), Speed(1000, 2000, 75_290)


@pytest.fixture
def study() -> PaperStudy:
    return PaperStudy(load_scale("smoke", seeds=(0,)))


def depth(model: Model) -> int:
    value: int = yaml.safe_load(model.section)["args"]["depth"]
    return value


def speeds(work: Work) -> dict[Model, Speed]:
    """Return made-up speeds: the student is the ResNet-8."""
    return {model: STUDENT if depth(model) == 8 else TEACHER for model in work.models}


def seconds(work: Work) -> float:
    return work.seconds(speeds(work))


def images(work: Work) -> dict[int, float]:
    """Return how many images the network of each depth answers."""
    counts: dict[int, float] = {}
    for model, count in work.forward:
        counts[depth(model)] = counts.get(depth(model), 0.0) + count
    return counts


def test_the_price_of_a_teachers_training(study: PaperStudy) -> None:
    work = work_of(study.teacher(C, "convnext_large"))
    assert work.train is not None
    model, count = work.train
    assert (depth(model), model.classes, model.size, model.batch) == (32, 10, 16, 50)
    assert count == EPOCHS * TRAIN == 2400
    assert images(work) == {32: EPOCHS * VAL + TEST} == {32: 468}
    assert seconds(work) == pytest.approx(2 + 2400 / 100 + 468 / 400)
    assert work.disk(speeds(work)) == 5 * 4 * 464_154  # SGD: twice values and momentum; weights


def test_a_distillation_asks_the_teacher_about_every_image(study: PaperStudy) -> None:
    work = work_of(study.distilled(C, "convnext_large")[0])
    assert work.train is not None
    assert (depth(work.train[0]), work.train[1]) == (8, 2400)
    assert images(work) == {8: 468, 32: 2400}
    assert seconds(work) == pytest.approx(2 + 2400 / 1000 + 468 / 2000 + 2400 / 400)
    assert work.disk(speeds(work)) == 7 * 4 * 75_290  # Adam: twice values and two moments; weights


def test_a_vicinal_evaluation_asks_every_network_about_every_mixture(study: PaperStudy) -> None:
    student, teacher = study.distilled(C, "convnext_large")[0], study.teacher(C, "convnext_large")
    baselines = {
        "erm": study.from_labels(C, "erm")[0],
        "kd": study.distilled(C, "convnext_large", "kd")[0],
    }
    mixtures = 2 * 60 * 9  # splits, pairs, lambdas
    work = work_of(study.evaluated(student, "vicinal", teacher, baselines))
    assert work.train is None
    assert images(work) == {8: 3 * mixtures + TEST + VAL, 32: mixtures}
    assert len(set(work.models)) == 2
    assert seconds(work) == pytest.approx(2 + 3507 / 2000 + 1080 / 400)
    assert work.disk(speeds(work)) == 0
    of_teacher = work_of(study.evaluated(teacher, "vicinal"))
    assert images(of_teacher) == {32: mixtures + TEST + VAL}


def test_a_corruption_evaluation_asks_about_clean_images_and_thirty_sets(study: PaperStudy) -> None:
    student, plain = study.distilled(C, "vit_b16")[0], study.from_labels(C, "erm")[0]
    work = work_of(study.evaluated(student, "corruptions", baselines={"erm": plain}))
    assert images(work) == {8: 2 * TEST * (6 * 5 + 1) + TEST + VAL} == {8: 12_667}
    assert seconds(work) == pytest.approx(2 + 12_667 / 2000)


@pytest.mark.parametrize(
    ("overrides", "sets"),
    [
        (["corruptions.names=all"], 15 * 5),
        (["corruptions.names=[fog,snow]", "corruptions.severities=[1,3,5]"], 2 * 3),
    ],
)
def test_the_price_follows_the_corruptions_that_are_named(overrides: list[str], sets: int) -> None:
    study = PaperStudy(load_scale("smoke", seeds=(0,)), {"evaluate": overrides})
    work = work_of(study.evaluated(study.from_labels(C, "erm")[0], "corruptions"))
    assert images(work) == {8: TEST * (sets + 1) + TEST + VAL}


def test_the_price_of_a_feature_evaluation(study: PaperStudy) -> None:
    work = work_of(study.evaluated(study.from_labels(C, "erm")[0], "features"))
    assert images(work) == {8: TEST + VAL + 100}
    assert seconds(work) == pytest.approx(2 + 367 / 2000)


def test_the_head_of_a_pretrained_network_is_trained_alone_first() -> None:
    overrides = ("data=digits", "data.limit_train=600", "network=mobilenetv2", "stage1.epochs=10",
             "network.pretrained=true", "trainer.max_epochs=4")  # fmt: skip
    with_stage1, answered = work_of(StudyRun("finetune", overrides)), 4 * VAL + 450
    assert [count for _, count in with_stage1.forward] == [answered, 10 * (TRAIN + VAL)]
    without_stage1 = work_of(StudyRun("finetune", (*overrides[:4], overrides[5])))
    assert [count for _, count in without_stage1.forward] == [answered]


PUBLIC = """
about: A public teacher.
seeds: [0]
datasets: {imagenet: {name: digits, words: [data=digits, data.size=16]}}
teachers:
  vit_b16: {name: x, words: [network=resnet20, network.args.depth=14, network.weights=FILE]}
student: {name: y, network: resnet20, words: [args.depth=8, pretrained=false]}
"""


def test_a_network_with_weights_is_timed_as_any_other() -> None:
    Path("public.yaml").write_text(PUBLIC)
    study = PaperStudy(load_scale("public.yaml"))
    teacher, student = study.teacher("imagenet", "vit_b16"), study.distilled("imagenet", "vit_b16")
    vicinal = study.evaluated(student[0], "vicinal", teacher)
    works = [work_of(run) for run in (teacher, student[0], vicinal)]
    assert [sorted(images(work)) for work in works] == [[14], [8, 14], [8, 14]]
    for model in (model for work in works for model in work.models):
        NetworkConfig.model_validate(dict.fromkeys(REST) | yaml.safe_load(model.section))


REST = ("weights", "run", "export", "pretrained")


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Model], Speed]]:
    """Give `measure_speed` with one thread and a short time."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(speed, "_seconds", partial(speed._seconds, least=0.1))
    yield partial(speed.measure_speed, threads=1)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_network_is_timed(measure: Callable[[Model], Speed], precision: str) -> None:
    overrides = {"finetune": [f"trainer.precision={precision}"]}
    study = PaperStudy(load_scale("smoke", seeds=(0,)), overrides)
    work = work_of(study.from_labels(C, "erm")[0])
    assert work.train is not None
    assert work.train[0].precision == precision
    timed = measure(work.train[0])
    assert timed.parameters == 75_290
    assert 0 < timed.train < timed.forward


def test_what_is_done_costs_nothing() -> None:
    model = Model("a", 10, 32, 50, "float32", True)
    speeds = {model: Speed(10, 100, 1_000_000)}
    works = [Work((model, 3600.0), ((model, 7200.0),), keeps=5), Work(None, ((model, 3600.0),))]
    runs = [StudyRun("finetune", (str(n),)) for n in range(3)]
    work = {runs[0].job: works[0], runs[2].job: works[1]}
    hours = (2 + 360 + 72 + 2 + 36) / 3600
    assert price(runs, {runs[1].job}, work, speeds) == Price(3, 2, pytest.approx(hours), 0.02)
    two_at_once = price(runs, {runs[1].job}, work, speeds, 2)
    assert two_at_once == Price(3, 2, pytest.approx(hours / 2), 0.02)
    assert price(runs, {run.job for run in runs}, {}, {}) == Price(3, 0, 0, 0)


def test_answers_on_a_tape_are_paid_for_once_a_stream() -> None:
    """Two temperatures share a stream; another seed, and learning without mixing, do not."""
    study = PaperStudy(load_scale("smoke", seeds=(0, 1)), {"distill": ["teacher.tape=DIR"]})
    runs = [
        *study.distilled(C, "vit_b16", temperature="2"),
        *study.distilled(C, "vit_b16", temperature="4"),
        *study.distilled(C, "vit_b16", method="kd"),
    ]
    works = {run.job: work_of(run) for run in runs}
    for work in works.values():
        assert work.tape is not None
        assert work.train is not None
        assert work.tape[2] == work.train[1]
        assert work.tape[1] in work.models
        assert work.tape[1] not in [model for model, _ in work.forward]
    speeds = {m: Speed(10, 100, 0) for work in works.values() for m in work.models}
    students = sum(work.seconds(speeds) for work in works.values())
    teacher_seconds = next(iter(works.values())).tape[2] / 100  # type: ignore[index]
    priced = price(runs, set(), works, speeds).hours * 3600
    assert priced == pytest.approx(students + 4 * teacher_seconds)
    assert price(runs[2:], set(), works, speeds).hours * 3600 == pytest.approx(
        sum(works[run.job].seconds(speeds) for run in runs[2:]) + 4 * teacher_seconds
    )
    live = work_of(PaperStudy(load_scale("smoke")).distilled(C, "vit_b16")[0])
    assert live.tape is None
    assert live.seconds({m: Speed(10, 100, 0) for m in live.models}) == pytest.approx(
        works[runs[0].job].seconds(speeds) + teacher_seconds
    )


def priced_sizes(overrides: list[str]) -> tuple[int, ...]:
    """Return training, held-out and test images as priced, for a training of one epoch."""
    overrides = ["network=resnet20", "trainer.max_epochs=1", *overrides]
    two_epochs = [*overrides[:1], "trainer.max_epochs=2", *overrides[2:]]
    one, two = (
        work_of(StudyRun("finetune", tuple(job_overrides)))
        for job_overrides in (overrides, two_epochs)
    )
    assert one.train is not None
    val = int(two.forward[0][1] - one.forward[0][1])  # an epoch more
    return int(one.train[1]), val, int(one.forward[0][1]) - val


def split_sizes(overrides: list[str]) -> tuple[int, ...]:
    cfg = request("finetune", ["network=resnet20", *overrides])
    assert isinstance(cfg, FinetuneConfig)
    splits = load_splits(cfg.data)
    return len(splits.train), len(splits.val), len(splits.test)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data.limit_train=600", "data.limit_test=200"],
        ["data.limit_train=36"],  # a held-out image of each class at least
        ["data.limit_train=1200"],  # so many that none of those held out is left away
        ["data.limit_train=5000", "data.limit_test=5000"],
        ["data.holdout=0.25", "data.limit_train=500"],
        ["data.selection=test"],
        ["data.selection=test", "data.limit_train=100", "data.limit_test=50"],
    ],
)
def test_images_are_counted_as_they_are_split(overrides: list[str]) -> None:
    assert priced_sizes(overrides) == split_sizes(overrides)


def _rename(old: str, new: str) -> Callable[[Path], Any]:
    return lambda root: (root / old).rename(root / new)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda root: None, (54, 6, 18)),
        (_rename("test", "val"), (54, 6, 18)),
        (lambda root: (root / "val").symlink_to(root / "test"), (60, 18, 18)),
    ],
)
def test_images_in_folders_are_counted(
    image_folder: Path, change: Callable[[Path], Any], expected: tuple[int, ...]
) -> None:
    change(image_folder)
    overrides = ["data=imagefolder", f"data.root={image_folder}"]
    assert priced_sizes(overrides) == split_sizes(overrides) == expected
    model, _ = work_of(StudyRun("finetune", ("network=resnet20", *overrides))).forward[0]
    assert (model.classes, model.size) == (3, 16)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_bytes_are_those_of_a_real_run(
    measure: Callable[[Model], Speed], optimizer: str
) -> None:
    overrides = ["data=digits", "data.size=16", "data.limit_train=100", "data.batch_size=50",
             "network=resnet20", "network.args.depth=8", "callbacks=none", "trainer.max_epochs=1",
             "trainer.accelerator=cpu", f"optimizer={optimizer}"]  # fmt: skip
    cfg = request("finetune", overrides)
    assert isinstance(cfg, FinetuneConfig)
    finetune(cfg)
    bytes_written = sum(path.stat().st_size for path in Run(cfg).path.rglob("*") if path.is_file())
    work = work_of(StudyRun("finetune", tuple(overrides)))
    estimate = work.disk({model: measure(model) for model in set(work.models)})
    assert estimate == pytest.approx(bytes_written, rel=0.2)
