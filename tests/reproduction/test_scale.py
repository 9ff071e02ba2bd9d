"""Scales: the shipped files and a user's; every run of a shipped one composes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from experiments.paper.reference import load_reference
from experiments.paper.study import PaperStudy
from mixkd.config.shipped import artefacts, experiments_dir
from mixkd.config.tasks import FinetuneConfig
from mixkd.errors import UserError
from mixkd.networks.build import build_network
from mixkd.reproduction.carry_out import distinct
from mixkd.reproduction.scale import Scale, load_scale, scale_names
from mixkd.reproduction.study import load_artefact
from mixkd.request import accept, compose, request

REFERENCE = load_reference(experiments_dir() / "paper/reference.yaml")
C = "cifar100"
ANY = ["a", "b", "c"]  # classes

SETTINGS = {
    "about": "Mine.",
    "seeds": [3, 4],
    "datasets": {"cifar10": {"name": "digits", "words": ["data=digits", "optimizer.lr=0.1"]}},
    "teachers": {"vit_b16": {"name": "ResNet-14", "words": ["network=resnet20"]}},
    "student": {"name": "ResNet-8", "network": "resnet20", "words": ["args.depth=8"]},
}


def write_scale(values: object, name: str = "mine.yaml") -> str:
    Path(name).write_text(yaml.safe_dump(values))
    return name


def test_the_quickest_scale_comes_first() -> None:
    assert scale_names() == ["smoke", "laptop", "paper", "cifar100"]


@pytest.mark.parametrize("name", scale_names())
def test_a_shipped_scale_has_all_that_the_paper_has(name: str) -> None:
    scale = load_scale(name)
    assert (scale.name, scale.protocol) == (name, "corrected")
    assert scale.seeds == tuple(scale.settings.seeds)
    assert set(scale.settings.datasets) == set(REFERENCE.datasets)
    assert set(scale.settings.teachers) == set(REFERENCE.teachers)
    assert load_scale(name, "parity", (5, 6)).seeds == (5, 6)
    assert load_scale(name, "parity").protocol == "parity"


@pytest.mark.parametrize("name", scale_names())
def test_every_run_that_an_artefact_wants_composes(name: str) -> None:
    Path("resnet32_cifar100.pth").touch()  # a public network that cifar100 takes as it is
    study = PaperStudy(load_scale(name, seeds=(0,)))
    runs = distinct(run for artefact in artefacts() for run in load_artefact(artefact).runs(study))
    assert len(runs) > 50
    composed: set[tuple[str, str]] = set()
    for run in runs:
        parts = {(run.command, override) for override in run.overrides}
        if parts <= composed:
            continue  # each of its overrides has been composed: a composition takes a tenth second
        composed |= parts
        cfg = compose(run.command, [*run.overrides, *(f"{key}=DIR" for key, _ in run.uses)])
        assert cfg.task == run.command
        assert cfg.seed == run.seed or run.command == "evaluate"
        if not run.uses and cfg.data.source != "imagenet":  # which needs data.root
            accept(cfg)  # of the others, what they use is not there


def parameters(scale: Scale, name: str) -> int:
    """Return how many parameters the stand-in of one of the paper's networks has."""
    study = PaperStudy(scale)
    is_student = name == REFERENCE.student
    run = study.from_labels(C, "erm")[0] if is_student else study.teacher(C, name)
    cfg = request(run.command, list(run.overrides))
    assert isinstance(cfg, FinetuneConfig)
    section = cfg.network.model_copy(update={"pretrained": None})
    return sum(p.numel() for p in build_network(section, ANY, "network").parameters())


@pytest.mark.parametrize("name", ["smoke", "laptop"])
def test_networks_that_stand_in_are_as_large_beside_each_other_as_the_papers(name: str) -> None:
    scale = load_scale(name, seeds=(0,))
    sizes = [parameters(scale, network) for network in REFERENCE.capacity]
    assert len(sizes) == 5
    assert sizes == sorted(set(sizes), reverse=True)


def test_a_file_of_the_same_form_is_a_scale_too() -> None:
    scale = load_scale(write_scale(SETTINGS))
    assert (scale.name, scale.seeds, scale.settings.toy_epochs) == ("mine", (3, 4), 40)
    assert scale.training_overrides("cifar10") == [
        "protocol=corrected", "data=digits", "optimizer.lr=0.1",
    ]  # fmt: skip
    assert PaperStudy(scale).dataset_overrides("cifar10") == ["data=digits"]
    assert PaperStudy(scale).student_overrides("student") == [
        "student=resnet20",
        "student.args.depth=8",
    ]
    assert PaperStudy(scale).student_overrides("network") == [
        "network=resnet20",
        "network.args.depth=8",
    ]
    assert scale.settings.of_analysis("vicinal") == scale.dataset("cifar10").distill == []


def test_a_data_set_may_have_teachers_of_its_own() -> None:
    teachers = {"vit_b16": ["network=resnet32"]}
    data = SETTINGS["datasets"]["cifar10"]  # type: ignore[index]
    two = {"cifar10": data, "imagenet": data | {"teachers": teachers}}
    scale = load_scale(write_scale(SETTINGS | {"datasets": two, "teaching": ["seed=1"]}))
    assert PaperStudy(scale).teacher_overrides("cifar10", "vit_b16") == [
        "seed=1",
        "network=resnet20",
    ]
    assert PaperStudy(scale).teacher_overrides("imagenet", "vit_b16") == [
        "seed=1",
        "network=resnet32",
    ]


def loading(change: dict[str, object]) -> Callable[[], object]:
    return lambda: load_scale(write_scale({**SETTINGS, **change}))


NAMES = "takes smoke, laptop, paper, cifar100, or a .yaml file"


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (lambda: load_scale("smok"), f"scale: got 'smok'; {NAMES} (did you mean smoke?)"),
        (lambda: load_scale("nope.yaml"), f"scale: got 'nope.yaml'; {NAMES}"),
        (
            lambda: load_scale("paper.yaml"),
            f"scale: got 'paper.yaml'; {NAMES} (did you mean paper?)",
        ),
        (
            lambda: load_scale("smoke", "parety"),
            "protocol: got 'parety'; takes corrected, parity (did you mean parity?)",
        ),
        (
            loading({"vicinl": []}),
            "scale: mine.yaml is no scale: vicinl: no such key (did you mean vicinal?)",
        ),
        (
            loading({"student": {"name": "x", "network": "y", "word": []}}),
            "scale: mine.yaml is no scale: student.word: no such key (did you mean",
        ),
        (loading({"seeds": [0, -1]}), "scale: mine.yaml is no scale: seeds[1]: got -1; takes "),
        (loading({"seeds": []}), "scale: mine.yaml is no scale: seeds: got []; takes at least 1"),
        (loading({"toy_epochs": 0}), "scale: mine.yaml is no scale: toy_epochs: got 0; takes "),
        (
            lambda: load_scale(write_scale([1])),
            "scale: mine.yaml is no scale: got [1]; takes a section with about,",
        ),
    ],
)
def test_a_mistake_gets_one_message(load: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load()
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"a: [1\n", b"\xff\xfe\x00\x01", b""])
def test_a_damaged_file_gets_one_message(content: bytes) -> None:
    Path("mine.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"^scale: mine.yaml is no scale: ") as caught:
        load_scale("mine.yaml")
    assert "\n" not in str(caught.value)


def test_a_scale_that_lacks_what_an_artefact_asks_for_says_so() -> None:
    study = PaperStudy(load_scale(write_scale(SETTINGS)))
    with pytest.raises(UserError) as caught:
        list(load_artefact("table2").runs(study))
    assert str(caught.value) == "scale: mine has no teachers.convnext_large; it has vit_b16"
    with pytest.raises(UserError) as caught:
        list(load_artefact("table3").runs(study))
    assert str(caught.value) == "scale: mine has no datasets.cifar100; it has cifar10"


def test_a_scale_goes_without_what_it_leaves_out() -> None:
    names = ["vit_b16", "resnet152v2"]
    teachers = {name: {"name": name, "words": ["network=resnet20"]} for name in REFERENCE.teachers}
    datasets = dict.fromkeys(REFERENCE.datasets, SETTINGS["datasets"]["cifar10"])  # type: ignore[index]
    settings = SETTINGS | {"teachers": teachers, "datasets": datasets}
    exclusions = [
        {"teacher": names[0]},
        {"teacher": names[1], "temperatures": ["4", "sigma"]},
        {"teacher": "convnext_large+mixup"},
    ]
    complete = PaperStudy(load_scale(write_scale(settings)))
    smaller = PaperStudy(
        load_scale(write_scale(settings | {"leaves_out": exclusions}, "less.yaml"))
    )
    left_out: set[str] = set()
    for name in ("table1", "table5", "fig7", "fig8"):
        artefact = load_artefact(name)
        runs = artefact.runs(smaller)
        assert set(runs) <= set(artefact.runs(complete))
        for run in set(artefact.runs(complete)) - set(runs):
            left_out.add("/".join((run.subject.role, run.subject.teacher, run.subject.temperature)))
            left_out.add(f"{run.subject.method} {run.command}")
        for run in runs:
            assert run.subject.teacher.partition("+")[0] != names[0]
            assert (run.subject.teacher, run.subject.temperature) != (names[1], "4")
    assert "student/resnet152v2/4" in left_out
    assert "student/resnet152v2/2" not in left_out
    assert "student/convnext_large+mixup/2" in left_out  # fig8
    assert "teacher/convnext_large/" in left_out  # fig7: the one that is trained with mixup
    assert "mixup finetune" in left_out
    assert "erm finetune" in left_out  # vit_b16


def test_figure_10_has_one_run_a_network_and_kind() -> None:
    """Two evaluations of one network would be two answers to one question."""
    study = PaperStudy(load_scale("smoke"))
    runs = {name: load_artefact(name).runs(study) for name in ("table5", "table6", "fig10")}
    by_slot = {}
    for run in distinct(run for artefact_runs in runs.values() for run in artefact_runs):
        slot = (run.subject, run.seed, run.kind)
        assert slot not in by_slot or by_slot[slot].kind == "training"
        by_slot[slot] = run
    vicinal = [run for run in runs["fig10"] if run.kind == "vicinal"]
    assert len(vicinal) == 4 + 2 + 4 * (1 + 6)  # teachers, labels alone, kd and temperatures
    assert {run.seed for run in vicinal} == {0}


@pytest.mark.parametrize(
    ("exclusion", "message"),
    [
        ({"teacher": "vit_b61"}, r"got 'vit_b61' \(did you mean vit_b16"),
        ({"dataset": "cifar01"}, r"got 'cifar01' \(did you mean cifar10"),
        ({}, "got nothing; takes dataset, teacher, method, temperatures, seeds"),
    ],
)
def test_only_what_exists_can_be_left_out(exclusion: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=f"leaves_out: {message}"):
        load_scale(write_scale(SETTINGS | {"leaves_out": [exclusion]}))


def test_a_data_set_that_is_left_out_takes_its_artefacts_along() -> None:
    teachers = {name: {"name": name, "words": ["network=resnet20"]} for name in REFERENCE.teachers}
    datasets = dict.fromkeys(REFERENCE.datasets, SETTINGS["datasets"]["cifar10"])  # type: ignore[index]
    settings = SETTINGS | {"teachers": teachers, "datasets": datasets}
    study = PaperStudy(
        load_scale(write_scale(settings | {"leaves_out": [{"dataset": "imagenet"}]}))
    )
    assert load_artefact("table4").runs(study) == []
    assert {run.subject.dataset for run in load_artefact("table2").runs(study)} == {"cifar10"}


CALLS = "which names a callable; trust=[os] if you trust its package"
KEYS_ALONE = "a file's words may refer to other keys alone, ${KEY}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.factory=os.system", CALLS),
        ("++network.factory='os.system'", CALLS),
        ("network.factory=str(os.system)", CALLS),
        ("factory=os.system", CALLS),
        ("baselines.a={factory: os.system}", CALLS),
        ("baselines={a: {b: [{factory: os.system}]}}", CALLS),
        ("network.factory=${data.name}", "which names a callable; trust=[${data]"),
        ("network.name=${oc.env:HOME}", KEYS_ALONE),
        ("network.name='x ${oc.env:HOME}'", KEYS_ALONE),
        (r"network.name=$\{oc.env\:HOME\}", KEYS_ALONE),
        ("network.args.a={b: ['${oc.env:HOME}']}", KEYS_ALONE),
        ("data.root=${data.${oc.env:HOME}}", KEYS_ALONE),
        ("network=../../evil", "takes a name"),
        ("callbacks=[default,../../evil]", "takes a name"),
        ("logger=wandb", "logger is for the command line to say"),
        ("launcher={setup: [ls]}", "launcher.setup is for the command line to say"),
        ("++launcher={setup: [ls]}", "launcher.setup is for the command line to say"),
        ("run={root: /elsewhere}", "run is for the command line to say"),
        ("+data@run=digits", "data@run is for the command line to say"),
        ("data={cache_dir: /elsewhere}", "data.cache_dir is for the command line to say"),
        ("network.factory=os.system,os.popen", "takes one value"),
        ("hydra.searchpath=[file:///evil]", "hydra.searchpath is for the command line to say"),
        ("launcher.setup=[ls]", "launcher.setup is for the command line to say"),
        ("trust=[os]", "trust is for the command line to say"),
        ("run.root=/elsewhere", "run.root is for the command line to say"),
    ],
)
def test_a_file_of_a_stranger_does_no_more_than_set_values(
    override: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "value-of-home")
    with pytest.raises(UserError) as caught:
        load_scale(write_scale(SETTINGS | {"teaching": [override]}))
    assert str(caught.value).startswith("scale: mine.yaml: got ")
    assert message in str(caught.value)
    assert "value-of-home" not in str(caught.value)


@pytest.mark.parametrize("section", ["launch", "datasets", "teachers", "student"])
def test_overrides_of_every_section_are_checked(section: str) -> None:
    override = "factory=os.system"
    data, student = SETTINGS["datasets"]["cifar10"], SETTINGS["student"]  # type: ignore[index]
    change: dict[str, object] = {
        "launch": [override],
        "datasets": {"cifar10": data | {"teachers": {"vit_b16": [override]}}},
        "teachers": {"vit_b16": {"name": "x", "words": [override]}},
        "student": student | {"words": [override]},
    }
    with pytest.raises(UserError, match=r"scale: mine.yaml: got 'factory=os.system'"):
        load_scale(write_scale(SETTINGS | {section: change[section]}))


def test_a_callable_is_named_by_a_file_whose_package_is_trusted() -> None:
    overrides = ["network.factory=mynet.build", "network.name=${data.name}", "data.root=../images"]
    file = write_scale(SETTINGS | {"teaching": overrides})
    assert load_scale(file, trust=["mynet"]).settings.teaching == overrides
    with pytest.raises(UserError, match=r"trust=\[mynet\]"):
        load_scale(file, trust=["mynetwork"])
    for factory in ("torchvision.models.resnet18", "mixkd.networks.mobilenetv2", "null"):
        load_scale(write_scale(SETTINGS | {"teaching": [f"network.factory={factory}"]}))


def test_a_file_is_a_strangers_however_it_is_named() -> None:
    write_scale(SETTINGS | {"teaching": ["network.factory=os.system"]}, "evil.yaml")
    Path("link.yaml").symlink_to("evil.yaml")
    for name, message in (("evil.yaml", "callable"), ("link.yaml", "callable"), ("evil", "takes")):
        for path in (name, str(Path(name).absolute())):
            with pytest.raises(UserError, match=message):
                load_scale(path)


def test_a_bomb_is_no_scale() -> None:
    lines = ["a0: &a0 [1, 1]"] + [f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]" for k in range(1, 40)]
    Path("mine.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"^scale: mine.yaml is no scale: it holds more than"):
        load_scale("mine.yaml")
