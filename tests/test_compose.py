import pytest

from mixkd.compose import compose, expand
from mixkd.errors import UserError
from mixkd.shipped import group_names


def test_teacher_and_student_choose_from_the_networks() -> None:
    assert expand("distill", ["teacher=resnet20", "student=resnet56", "seed=1"]) == [
        "network@teacher=resnet20", "network@student=resnet56", "seed=1",
    ]  # fmt: skip
    cfg = compose("distill", ["teacher=resnet20", "student=resnet18", "student.input_size=64"])
    assert cfg.teacher.args.depth == 20
    assert cfg.student.name == "resnet18"


def test_a_run_or_a_factory_stands_alone() -> None:
    cfg = compose("distill", ["student.factory=a.b"])
    assert (cfg.student.factory, cfg.student.name, cfg.student.head) == ("a.b", None, None)
    named = compose("distill", ["student=mobilenetv2", "student.factory=a.b"])
    assert named.student.name == "mobilenetv2"


@pytest.mark.parametrize(
    ("command", "word", "messages"),
    [
        ("distill", "temperatur=2", ["temperatur: no such key (did you mean temperature?)"]),
        ("distill", "trainer.max_epoch=2", ["max_epoch: no such key (did you mean max_epochs?)"]),
        ("distill", "trianer.max_epochs=2", ["no such key (did you mean trainer?)"]),
        ("distill", "teacher=resnet21", ["got 'resnet21'; takes ", "(did you mean resnet20?)",
                                         "teacher=timm teacher.name=NAME"]),
        ("finetune", "data=cifar11", ["data: got 'cifar11'; takes ", "(did you mean cifar10?)"]),
        ("finetune", "optimizer=sdg", ["optimizer: got 'sdg'; takes adam, adamw, sgd"]),
        ("finetune", "temperature=2", ["temperature: no such key"]),
        ("finetune", "method.mix.lam=1", ["method.mix.lam: method.mix is null here"]),
        ("finetune", "seed=1,2", ["seed: got 1, 2; takes one value; `-m` runs a job for each"]),
        ("finetune", "word", ["word: not KEY=VALUE"]),
        ("finetune", "seed=[1", ["seed=[1: not KEY=VALUE"]),
        ("distill", "network=resnet18", ["network: `mixkd distill` has no such key; takes"]),
        ("evaluate", "optimizer=sgd", ["optimizer: `mixkd evaluate` has no such key; takes"]),
        ("evaluate", "network.depth=3", ["network.depth: no such key"]),
    ],
)  # fmt: skip
def test_typos_get_one_message_with_the_nearest_name(
    command: str, word: str, messages: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        compose(command, ["network=resnet20", word] if command == "finetune" else [word])
    assert word.partition("=")[0] in str(caught.value)
    for message in messages:
        assert message in str(caught.value)


def test_typos_and_bad_values_are_told_together() -> None:
    words = ["network=resnet20", "optimzer.lr=1", "data=cifr10", "seed=-1", "optimizer.momentum=2"]
    with pytest.raises(UserError) as caught:
        compose("finetune", words)
    keys = [problem.key for problem in caught.value.problems]
    assert sorted(keys) == ["data", "optimizer.momentum", "optimzer.lr", "seed"]


def test_arguments_of_a_callable_may_be_new_ones() -> None:
    for words in (["network.args={foo: 1}"], ["network.args.foo=1"]):
        args = compose("finetune", ["network=resnet20", *words]).network.args
        assert dict(args) == {"depth": 20, "foo": 1}
        assert dict(compose("finetune", ["network=resnet18", *words]).network.args) == {"foo": 1}


def test_keys_of_a_chosen_option_are_known() -> None:
    with pytest.raises(UserError) as caught:
        compose("distill", ["optimizer=sgd", "optimizer.momentum=0.8", "teacher=resnet20", "sed=1"])
    assert [p.key for p in caught.value.problems if p.key != "teacher"] == ["sed"]


def test_group_names_carry_their_first_comment() -> None:
    assert group_names("data")["digits"].startswith("scikit-learn's 1,797 handwritten digits")
    assert "_base" not in group_names("network")


@pytest.mark.parametrize(
    "path",
    ["é", "日本", "it's", "a(b)", "a,b", "a (1),b", "k=v", "a b", "x!&;", r"a\b", r"it\'s\\", "#1"],
)
def test_paths_need_no_quotes(path: str) -> None:
    for word in (f"data.root={path}", f"run.root={path}"):
        section, key = word.partition("=")[0].split(".")
        assert compose("finetune", [word])[section][key] == path
    assert compose("distill", [f"teacher.run={path}"]).teacher.run == path


def test_home_is_expanded_and_quoted_paths_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert compose("finetune", ["data.root=~/images"]).data.root == "/home/someone/images"
    assert compose("finetune", ["data.root='a b'"]).data.root == "a b"


def test_paths_of_a_sweep_stay_apart() -> None:
    assert expand("evaluate", ["network.run=a,b"], sweep=True)[0] == "network.run=a,b"
    quoted = expand("evaluate", ["network.run=a(1),b c"], sweep=True)[0]
    assert quoted == "network.run='a(1)',b c"


def test_loggers_are_one_or_several_and_a_wrong_one_is_named() -> None:
    chosen = compose("finetune", ["network=resnet20", "logger=[csv,wandb]"]).logger
    assert [chosen.csv, chosen.tensorboard, chosen.wandb.project] == [{}, None, "mixkd"]
    assert compose("evaluate", ["logger=csv"]).logger.wandb is None
    with pytest.raises(UserError, match=r"logger: got 'wandbb'.*did you mean wandb"):
        compose("finetune", ["network=resnet20", "logger=[csv,wandbb]"])
