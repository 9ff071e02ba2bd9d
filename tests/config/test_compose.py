import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mixkd.config.compose import expand, text_keys
from mixkd.config.fields import PATH, fields_of
from mixkd.config.overrides import written
from mixkd.config.shipped import group_names
from mixkd.config.tasks import SCHEMAS
from mixkd.errors import UserError
from mixkd.launchers.sweep import jobs_of
from mixkd.request import compose, request


def test_teacher_and_student_choose_from_the_networks() -> None:
    assert expand("distill", ["teacher=resnet20", "student=resnet56", "seed=1"]) == [
        "network@teacher=resnet20", "network@student=resnet56", "seed=1",
    ]  # fmt: skip
    cfg = compose("distill", ["teacher=resnet20", "student=resnet18", "student.input_size=64"])
    assert cfg.teacher.args.depth == 20
    assert cfg.student.name == "resnet18"


def test_a_run_or_a_factory_needs_no_network_beside_it() -> None:
    cfg = compose("distill", ["student.factory=a.b"])
    assert (cfg.student.factory, cfg.student.name, cfg.student.head) == ("a.b", None, None)
    named_cfg = compose("distill", ["student=mobilenetv2", "student.factory=a.b"])
    assert named_cfg.student.name == "mobilenetv2"


@pytest.mark.parametrize(
    ("command", "override", "messages"),
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
    command: str, override: str, messages: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        compose(command, ["network=resnet20", override] if command == "finetune" else [override])
    assert override.partition("=")[0] in str(caught.value)
    for message in messages:
        assert message in str(caught.value)


def test_typos_and_bad_values_are_told_together() -> None:
    overrides = [
        "network=resnet20",
        "optimzer.lr=1",
        "data=cifr10",
        "seed=-1",
        "optimizer.momentum=2",
    ]
    with pytest.raises(UserError) as caught:
        request("finetune", overrides)
    keys = [problem.key for problem in caught.value.problems]
    assert sorted(keys) == ["data", "optimizer.momentum", "optimzer.lr", "seed"]


def test_arguments_of_a_callable_may_be_new_ones() -> None:
    for overrides in (["network.args={foo: 1}"], ["network.args.foo=1"]):
        args = compose("finetune", ["network=resnet20", *overrides]).network.args
        assert dict(args) == {"depth": 20, "foo": 1}
        assert dict(compose("finetune", ["network=resnet18", *overrides]).network.args) == {
            "foo": 1
        }


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
    for override in (f"data.root={path}", f"run.root={path}"):
        section, key = override.partition("=")[0].split(".")
        assert compose("finetune", [override])[section][key] == path
    assert compose("distill", [f"teacher.run={path}"]).teacher.run == path


# What Hydra would read as a number, a flag, a list, a function, or something else than it says.
SPELT = ["2024_01", "1e5", "0x10", "-1", ".5", "007", "true", "yes", "nan", "inf", "[a,b]", "[0]",
         "{a: 1}", "a:b", "str(3)", "choice(a,b)", "range(3)", "glob(*)", " a", "a\\ b", "a\\",
         "a.", "$x", "${x", "it's, that's", "'", '"', "a[1,2](3)"]  # fmt: skip
NUMBERS = ("2024_01", "1e5", "-1", ".5", "nan", "inf")


def read(override: str) -> object:
    """Return the value of an override as a configuration holds it."""
    parsed = OverridesParser.create().parse_override(override)
    container = OmegaConf.to_container(OmegaConf.create({"x": parsed.value()}), resolve=True)
    assert isinstance(container, dict)
    return container["x"]


@pytest.mark.parametrize("text", SPELT)
def test_text_is_text_whatever_it_spells(text: str) -> None:
    """In every key that takes a path or a name, but for the flags and numbers that it takes."""
    for command in ("finetune", "distill", "evaluate", "export"):
        for key, types in text_keys(command).items():
            is_flag = text == "true" and bool in types
            if not is_flag and not (text in NUMBERS and float in types):
                assert read(expand(command, [f"{key}={text}"])[0]) == text, key
    overrides = [f"{key}={text}" for key in ("data.root", "run.dir", "network.name", "sweep.name")]
    cfg = compose("finetune", ["network=timm", *overrides, f"++data.name={text}"])
    assert [cfg.data.root, cfg.run.dir, cfg.network.name, cfg.sweep.name, cfg.data.name] == 5 * [
        text
    ]
    assert read(expand("evaluate", [f"baselines.erm={text}"])[0]) == text


def test_the_keys_that_take_text_are_those_of_the_schema() -> None:
    for command, schema in SCHEMAS.items():
        for key, field in fields_of(schema):
            is_text = field.annotation in (str, str | None)
            assert (key in text_keys(command)) >= is_text, key
    lists = {"trust", "logger.wandb.tags", "launcher.setup", "corruptions.names", "splits"}
    assert not lists & text_keys("evaluate").keys()
    paths = {key for key, types in text_keys("distill").items() if PATH in types}
    path_names = ("dir", "root", "cache_dir", "pretrained", "weights", "run", "export", "tape")
    assert paths == {key for key in text_keys("distill") if key.rpartition(".")[2] in path_names}


def test_null_flags_and_other_keys_stay_what_they_are() -> None:
    overrides = [
        "network=resnet20",
        "run.dir=null",
        "network.pretrained=false",
        "data.root=${run.root}",
    ]
    cfg = compose("finetune", [*overrides, "++data.name=2024", "seed=3", "run.root='null'"])
    assert (cfg.run.dir, cfg.network.pretrained, cfg.data.root) == (None, False, "null")
    assert (cfg.data.name, cfg.seed, cfg.run.root) == ("2024", 3, "null")
    assert compose("finetune", [r"data.root=a\${seed}"]).data.root == "a${seed}"


def test_home_is_expanded_and_quoted_paths_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert compose("finetune", ["data.root=~/images"]).data.root == "/home/someone/images"
    assert compose("finetune", ["data.root='a b'"]).data.root == "a b"


def test_paths_of_a_sweep_stay_apart() -> None:
    assert expand("evaluate", ["network.run=a,b"], sweep=True)[0] == "network.run='a','b'"
    quoted = expand("evaluate", ["network.run=a(1),b c"], sweep=True)[0]
    assert quoted == "network.run='a(1)','b c'"


def test_loggers_are_one_or_several_and_a_wrong_one_is_named() -> None:
    logger = compose("finetune", ["network=resnet20", "logger=[csv,wandb]"]).logger
    assert [logger.csv, logger.tensorboard, logger.wandb.project] == [{}, None, "mixkd"]
    assert compose("evaluate", ["logger=csv"]).logger.wandb is None
    with pytest.raises(UserError, match=r"logger: got 'wandbb'.*did you mean wandb"):
        compose("finetune", ["network=resnet20", "logger=[csv,wandbb]"])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("1e5,2024_01", ["1e5", "2024_01"]),
        ("'a,b',c", ["a,b", "c"]),
        ("a[1,2],{b,c}", ["a[1,2]", "{b,c}"]),
        ("it's,that's", ["it's", "that's"]),
        ("a(1,b", ["a(1", "b"]),
        ("true", ["true"]),
        ("range(2)", ["0", "1"]),
        ("choice(a,1)", ["a", "1"]),
    ],
)
def test_a_sweep_over_text_has_a_job_for_each(values: str, expected: list[str]) -> None:
    jobs = jobs_of("finetune", [f"run.root={values}", "seed=0,1"])
    assert [compose("finetune", job).run.root for job in jobs[::2]] == expected


@pytest.mark.parametrize("text", [*SPELT, "null", "a b", "runs/x", "${seed}", "\\${x}", "é"])
def test_an_override_is_read_back_as_the_text_that_it_was(text: str) -> None:
    assert read(f"x={written(text)}") == text
    assert read(f"x={written([text, 1, None])}") == [text, 1, None]
    assert read(f"x={written({'key': text})}") == {"key": text}
