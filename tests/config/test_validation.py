from pathlib import Path

import pytest
import yaml

from mixkd.config.shipped import config_dir
from mixkd.config.tasks import Config, DistillConfig, EvaluateConfig
from mixkd.errors import UserError
from mixkd.request import accept, accept_export, compose, request
from mixkd.runs.identity import experiment_hash
from mixkd.runs.run import readable_name

FINETUNE = ["network=resnet20"]


def finetune(*overrides: str) -> Config:
    return request("finetune", [*FINETUNE, *overrides])


def weights(path: str = "w.safetensors", content: bytes = b"weights") -> str:
    Path(path).write_bytes(content)
    return path


def distill(*overrides: str) -> Config:
    teacher = ["teacher=resnet20", f"teacher.weights={weights()}"]
    return request("distill", [*teacher, *overrides])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "seed: got -1; takes a whole number from 0 to 2**63 - 1"),
        ("seed=1.5", "seed: got 1.5; takes a whole number from 0 to 2**63 - 1"),
        ("seed=true", "seed: got true; takes a whole number from 0 to 2**63 - 1"),
        ("stream.seed=-3", "stream.seed: got -3; takes a whole number, 0 or more, or null"),
        ("temperature=0", "temperature: got 0; takes a number above 0 and up to 1e6; or sigma"),
        ("temperature=-2", "temperature: got -2; takes a number above 0 and up to 1e6; or sigma"),
        ("temperature=sigmma", "temperature: got 'sigmma'; takes a number above 0 and up to 1e6; "
                               "or sigma, 2sigma and so on"),
        ("temperature=1000000sigma", "got '1000000sigma'; takes a number above 0 and up to 1e6; "),
        ("temperature=00.5sigma", "temperature: got '00.5sigma'; takes a number above 0"),
        ("temperature=inf", "temperature: got inf; takes a number above 0 and up to 1e6; or sigma"),
        ("method.mix.lam=1.5", "mix.lam: got 1.5; takes uniform, beta, or a number in [0, 1]"),
        ("method.mix.lam=-0.1", "method.mix.lam: got -0.1; takes uniform, beta, or a number"),
        ("method.mix.lam=unifrm", "method.mix.lam: got 'unifrm'; takes uniform, beta, or a number"),
        ("method.mix.a=0", "method.mix.a: got 0; takes a number above 0"),
        ("method.mix.per=image", "method.mix.per: got 'image'; takes sample, batch"),
        ("method.alpha=-1", "method.alpha: got -1; takes a number, 0 or more"),
        ("method=erm", "method: got erm; `mixkd distill` takes kd or kd_mixup"),
        ("optimizer.lr=0", "optimizer.lr: got 0; takes a number above 0"),
        ("optimizer.lr=-0.1", "optimizer.lr: got -0.1; takes a number above 0"),
        ("optimizer.lr=fast", "optimizer.lr: got 'fast'; takes a number above 0"),
        ("optimizer.betas=[0.9]", "optimizer.betas: got [0.9]; takes two numbers in [0, 1)"),
        ("optimizer.betas=[0.9,1]", "optimizer.betas[1]: got 1; "),
        ("trainer.max_epochs=0",
         "trainer.max_epochs: got 0; takes a whole number from 1 to 100000"),
        ("trainer.select=acuracy", "trainer.select: got 'acuracy'; takes accuracy, nll, ece, last "
                                   "(did you mean accuracy?)"),
        ("data.holdout=1", "data.holdout: got 1; takes a number above 0 and below 1"),
        ("data.holdout=0", "data.holdout: got 0; takes a number above 0 and below 1"),
        ("data.selection=train", "data.selection: got 'train'; takes holdout, test"),
        ("data.limit_train=0", "data.limit_train: got 0; takes a whole number, 1 or more, or null"),
        ("data.batch_size=1", "data.batch_size: got 1; takes a whole number, 2 or more"),
        ("data.size=4", "data.size: got 4; takes a whole number of pixels from 8 to 4096, or null"),
        ("student.std=[1,0,1]", "student.std[1]: got 0; takes three numbers above 0, or null"),
        ("student.mean=[1,0]", "student.mean: got [1, 0]; takes three numbers, or null"),
        ("student.head.dropout=1", "student.head.dropout: got 1; takes a number in [0, 1)"),
        ("student.weights=nowhere.pt", "student.weights: got 'nowhere.pt'; no such file"),
        ("student.run=nowhere", "student.run: got 'nowhere'; no run there"),
        ("+surprise=1", "surprise: no such key; takes "),
        ("+method.mix.lamda=1", "method.mix.lamda: no such key (did you mean lam?); takes lam, a"),
        ("data=imagefolder", "data.root: got null; takes the folder that holds train/ and test/"),
    ],
)  # fmt: skip
def test_one_mistake_gives_one_message(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        distill(override)
    assert len(caught.value.problems) == 1, str(caught.value)
    assert message in str(caught.value)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(UserError, match=r"data.root: got '/no/such'; no such folder"):
        finetune("data=imagefolder", "data.root=/no/such")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["~data"], "data: is missing; leave ~data out of the command"),
        (["task=foo"], "task: got 'foo'; the command sets it"),
        (["schedule=piecewise", "schedule.segments=[1,2]"], "schedule.segments[0]: got 1"),
        (["schedule=piecewise", "schedule.segments=5"], "schedule.segments: got 5; takes a list"),
        (["schedule=piecewise",
          "schedule.segments=[{start: 1, end: 1, lr0: 1, lr1: 1, shape: linear}]"],
         "schedule.segments[0].end: takes an epoch after its start"),
        (["method.name=mixup"], "method: mixup with mix=None; take another method"),
        (["data.size=64", "data.resize=32"], "data.resize: got 32; takes at least data.size, 64"),
        (["data.resize=40"], "data.resize: got 40 without data.size"),
        (["data.resident=false"], "data.resident: got false; digits lives in memory"),
        (["data=imagefolder", "data.root=.", "data.resident=false"], "data.size: got null; images"),
        (["data=cifar10_c", "data.corruption=fog"], "data: cifar10_c holds test images alone"),
        (["data.source=cifar11"], "data.source: got 'cifar11'; takes digits"),
        (["schedule.min_lr=0.5"], "schedule.min_lr: got 0.5; takes at most optimizer.lr, 0.05"),
        (["optimizer.name=rmsprop"], "optimizer.name: got 'rmsprop'; takes sgd, adam, adamw"),
        (["network.head=3"], "network.head: got 3; takes a section with units, dropout"),
        (["run=here"], "run: got 'here'; takes a section with dir, root, force"),
        (["trainer.accumulate=3"], "trainer.accumulate: got 3; 1 x 3 parts cannot share"),
        (["trainer.accumulate=64"], "trainer.accumulate: leaves 1 image a device and part"),
        (["data.name=../../evil"], "data.name: got '../../evil'; takes letters, digits"),
        (["data.root=images"], "data.root: got 'images' with data=digits; take data=imagefolder"),
        (["optimizer.momentum=0"], "optimizer.momentum: got 0 with nesterov=true"),
        (["callbacks.linearity=null"], "callbacks.linearity: got null; takes a section with"),
        (["callbacks.linearity.n_pairs=1", "trainer.devices=2"], "n_pairs: got 1; takes a pair a"),
        (["data.batch_size=63", "trainer.devices=2"], "63, which 2 devices cannot share equally"),
        (["schedule=piecewise", "optimizer.lr=0.1"],
         "optimizer.lr: got 0.1, which changes nothing: schedule=piecewise has rates of its own"),
        (["schedule=piecewise", "schedule.stretch=false", "schedule.length=9"],
         "schedule.length: got 9, which changes nothing"),
        (["schedule=multistep", "schedule.stretch=false"],
         "schedule.milestones: got 150; takes epochs below trainer.max_epochs, 20"),
        (["schedule=multistep", "schedule.length=200"],
         "schedule.milestones: got 210; takes epochs below schedule.length, 200"),
        (["schedule=multistep", "schedule.milestones=[9,9]"],
         "schedule.milestones[1]: got 9; takes an epoch after 9, the milestone before it"),
        (["schedule=multistep", "schedule.milestones=9"],
         "schedule.milestones: got 9; takes a list of epochs"),
        (["schedule=onecycle", "schedule.div_factor=0.5"],
         "schedule.div_factor: got 0.5; takes a number, 1 or more"),
        (["method=mixup", "method.mix.a=0.4"], "method.mix.a: got 0.4, which changes nothing"),
        (["method=mixup", "method.mix.lam=0.5", "method.mix.per=batch"],
         "method.mix.per: got 'batch', which changes nothing: a fixed method.mix.lam"),
        (["method=focal", "method.mix={a: 0.4}"], "method.mix.a: got 0.4, which changes nothing"),
        (["method=mixup", "method.mix.switch_prob=0.3"],
         "method.mix.switch_prob: got 0.3, which changes nothing: it is of method.mix.kind=switch"),
        (["method=mixup", "method.mix.kind=switch", "method.mix.cutmix_a=1"],
         "method.mix.cutmix_a: got 1, which changes nothing"),
        (["method=mixup", "method.mix.prob=0"], "prob: got 0; takes a number above 0 and up to 1"),
        (["method=mixup", "method.mix=null"], "method: mixup with mix=None; take another method"),
        (["method=erm", "method.mix={}"], "method: erm with mix={'lam': 'uniform', "),
        (["method.name=focl"], "method: got focl; `mixkd finetune` takes erm, mixup, confidence_"),
        (["method=focal", "+method.label_smoothing=0.1"],
         "method.label_smoothing: got 0.1 beside the loss focal; it is of method=erm"),
        (["method=focal", "method.factory=a.b"], "method.factory: got 'a.b' beside the loss focal"),
        (["+method.args.gamma=1"], "method.args: of a method.factory, which is not given"),
        (["logger=wandb", "logger.wandb.project=me/kd"],
         "project: got 'me/kd'; takes a name of up to 128 letters, without / \\ # ? % and :"),
        (["logger=wandb", f"logger.wandb.project={'x' * 129}"], "takes a name of up to 128"),
        (["logger=wandb", "logger.wandb.entity=me/you"], "entity: got 'me/you'; takes a name"),
        (["logger=wandb", f"logger.wandb.tags=[kd,{'x' * 70}]"],
         "tags[1]: got 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'; "
         "takes a list of words of up to 64 letters"),
        (["logger=wandb", "logger.wandb.tags=[kd,2024,true]"],
         "tags: got ['kd', 2024, True]; takes a list of words of up to 64 letters; in quotes where "
         "it reads as a number: 'logger.wandb.tags=[\"kd\",\"2024\",\"true\"]'"),
        (["trust=[1]"], "trust: got [1]; takes a list of package names; in quotes"),
    ],
)  # fmt: skip
def test_contradictions_get_one_message(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        finetune(*overrides)
    assert message in str(caught.value)


def test_a_loss_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"method.beta: got 0 with method.alpha=0"):
        distill("method.alpha=0", "method.beta=0")


def test_names_of_digits_want_quotes() -> None:
    overrides = [f"network.run={saved_run()}", "features.classes=[0,1]"]
    with pytest.raises(UserError) as caught:
        request("evaluate", overrides)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].text.endswith("""'features.classes=["0","1"]'""")
    quoted = request("evaluate", [overrides[0], 'features.classes=["0","1"]'])
    assert quoted.features.classes == ["0", "1"]  # type: ignore[union-attr]


@pytest.mark.parametrize("source", ["made", "cifar10_c"])
def test_a_corruption_is_no_path(source: str) -> None:
    overrides = ["corruptions.names=['../x']", f"corruptions.source={source}"]
    with pytest.raises(
        UserError, match=r"^corruptions.names: got .*'\.\./x'.*; takes paper, all"
    ) as caught:
        request("evaluate", [f"network.run={saved_run()}", *overrides])
    assert len(caught.value.problems) == 1


def test_splits_are_named_once() -> None:
    with pytest.raises(UserError, match=r"splits: got \['test', 'test'\]; takes each once"):
        request("evaluate", [f"network.run={saved_run()}", "splits=[test,test]"])


def test_a_group_cannot_be_null() -> None:
    with pytest.raises(UserError, match="data: got 'None'; takes cifar10"):
        finetune("data=null")


def test_a_gap_between_segments_is_named() -> None:
    gap = "schedule.segments=[{start: 0, end: 3, lr0: 1, lr1: 1, shape: linear}," \
          "{start: 4, end: 9, lr0: 1, lr1: 1, shape: linear}]"  # fmt: skip
    with pytest.raises(UserError, match=r"segments\[1\].start: got 4; takes 3"):
        finetune("schedule=piecewise", gap)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        distill("temperature=0", "seed=-1", "data=imagefolder", "data.root=/no/such", "method=erm",
                "optimizer.lr=-1", "schedule.min_lr=-1")  # fmt: skip
    keys = {problem.key for problem in caught.value.problems}
    assert {"temperature", "seed", "data.root", "method", "optimizer.lr", "schedule.min_lr"} <= keys


def test_every_network_has_to_come_from_somewhere() -> None:
    for command, message in [
        ("finetune", "network: none chosen"),
        ("distill", "teacher: none chosen"),
        ("evaluate", "network: none chosen"),
    ]:
        with pytest.raises(UserError, match=message):
            request(command)
    with pytest.raises(UserError, match=r"teacher: a\.b has no weights trained"):
        request("distill", ["teacher.factory=a.b"])
    with pytest.raises(UserError, match=r"network: resnet20 has no trained weights"):
        request("evaluate", ["network=resnet20", "data=digits"])


def test_numbers_are_normalised_before_hashing() -> None:
    assert experiment_hash(distill("temperature=2")) == experiment_hash(distill("temperature=2.0"))


@pytest.mark.parametrize(
    "override",
    ["run.root=elsewhere", "run.dir=there", "run.force=true", "data.download=false",
     "trainer.threads=1",
     "data.cache_dir=c", "data.download=true", "trainer.accelerator=cpu", "trust=[a]"],
)  # fmt: skip
def test_places_do_not_name_an_experiment(override: str) -> None:
    assert experiment_hash(finetune(override)) == experiment_hash(finetune())


@pytest.mark.parametrize(
    "override",
    ["seed=1", "stream.seed=1", "optimizer.lr=0.2", "trainer.max_epochs=3", "data.split_seed=1",
     "data.limit_train=100", "data=cifar10", "method=mixup", "schedule=constant", "data.pad=1",
     "network.args.depth=26", "trainer.devices=2", "data.selection=test"],
)  # fmt: skip
def test_other_keys_name_an_experiment(override: str) -> None:
    assert experiment_hash(finetune(override)) != experiment_hash(finetune())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["schedule=piecewise"], ["schedule=piecewise", "optimizer.lr=1e-4"]),  # of sgd_slow
        (["stream.seed=null", "seed=3"], ["stream.seed=3", "seed=3"]),
    ],
)
def test_what_changes_nothing_names_nothing(one: list[str], other: list[str]) -> None:
    assert experiment_hash(finetune(*one)) == experiment_hash(finetune(*other))


@pytest.mark.parametrize(
    ("overrides", "temperature", "name"),
    [
        (["temperature=sigma"], "sigma", "sigma"),
        (["temperature=1sigma"], "sigma", "sigma"),
        (["temperature=1.0sigma"], "sigma", "sigma"),
        (["temperature=2.0sigma"], "2sigma", "2sigma"),
        (["temperature=0.50sigma"], "0.5sigma", "0.5sigma"),
        (["temperature=10sigma"], "10sigma", "10sigma"),
        (["temperature=2sigma", "deviation=sample"], "2sigma", "2sigma"),
        (["temperature=2"], 2.0, "T2"),
    ],
)
def test_a_temperature_has_one_spelling(
    overrides: list[str], temperature: object, name: str
) -> None:
    cfg = distill(*overrides)
    assert isinstance(cfg, DistillConfig)
    assert cfg.temperature == temperature
    assert readable_name(cfg) == f"mobilenetv2-kd_mixup-from-resnet20-{name}-s0"
    assert DistillConfig.model_validate(cfg.model_dump()) == cfg


def test_the_base_and_the_deviation_of_sigma_name_an_experiment() -> None:
    given = ("sigma", "2sigma", "sigma deviation=sample", "2sigma deviation=sample", "2")
    hashes = {experiment_hash(distill(*f"temperature={text}".split())) for text in given}
    assert len(hashes) == len(given)
    before = experiment_hash(distill("temperature=sigma", "deviation=population"))
    assert before == experiment_hash(distill("temperature=1.0sigma"))
    compared = {
        experiment_hash(distill("divergence=none", "hint=rkd", *f"temperature={text}".split()))
        for text in given
    }
    assert len(compared) == 1


@pytest.mark.parametrize("temperature", ["sigma", "1sigma", "1"])
def test_the_square_of_no_temperature_names_nothing(temperature: str) -> None:
    overrides = [f"temperature={temperature}"]
    other = distill(*overrides, "method.t_squared=false")
    assert experiment_hash(distill(*overrides)) == experiment_hash(other)
    assert experiment_hash(distill()) != experiment_hash(distill("method.t_squared=false"))


def test_weights_count_by_content_not_by_path() -> None:
    original = experiment_hash(distill())
    copied = experiment_hash(distill(f"teacher.weights={weights('copy.safetensors')}"))
    changed = experiment_hash(distill(f"teacher.weights={weights('o.safetensors', b'other')}"))
    assert original == copied != changed


def test_a_folder_counts_by_its_listing(image_folder: Path) -> None:
    def hash_of(root: Path) -> str:
        return experiment_hash(finetune("data=imagefolder", f"data.root='{root}'"))

    original_hash = hash_of(image_folder)
    moved = image_folder.rename(image_folder.parent / "moved")
    assert hash_of(moved) == original_hash
    (moved / "test" / "red" / "0000.jpg").unlink()
    assert hash_of(moved) != original_hash


def saved_run(factory: str | None = None) -> Path:
    directory = Path("saved")
    directory.mkdir()
    raw = finetune("data.pad=3").model_dump()
    raw["network"]["factory"] = factory or raw["network"]["factory"]
    (directory / "config.yaml").write_text(yaml.safe_dump(raw))
    (directory / "weights.safetensors").write_bytes(b"weights")
    return directory


def test_a_run_brings_its_network_and_for_evaluate_its_data() -> None:
    directory = saved_run()
    cfg = request("evaluate", [f"network.run={directory}", "data.limit_test=50"])
    assert cfg.network.args == {"depth": 20}
    assert cfg.network.weights == str(directory / "weights.safetensors")
    assert (cfg.data.source, cfg.data.pad, cfg.data.limit_test) == ("digits", 3, 50)
    teacher = request("distill", [f"teacher.run={directory}", "data=cifar10"])
    assert teacher.data.source == "cifar10"


@pytest.mark.parametrize(
    "factory", ["torch.utils.collect_env.run", "timm.models.load_state_dict", "os.system", "torch"]
)
def test_a_run_may_name_only_what_builds_networks(factory: str) -> None:
    with pytest.raises(UserError, match=r"network.run: that run names the callable"):
        request("evaluate", [f"network.run={saved_run(factory)}"])


def test_a_run_may_name_torchvisions_networks() -> None:
    cfg = request("evaluate", [f"network.run={saved_run('torchvision.models.resnet18')}"])
    assert cfg.network.factory == "torchvision.models.resnet18"


def test_null_replaces_what_a_run_says() -> None:
    directory = saved_run()
    cfg = request("evaluate", [f"network.run={directory}", "data.limit_test=null"])
    assert cfg.data.limit_test is None
    assert cfg.data.pad == 3


def test_another_network_beside_a_run_is_refused() -> None:
    overrides = [f"network.run={saved_run()}", "network=resnet18"]
    with pytest.raises(UserError, match=r"network.name: got 'resnet18' beside a run of 'resnet20'"):
        request("evaluate", overrides)


@pytest.mark.parametrize("override", ["data.split_seed=7", "data.holdout=0.2"])
def test_a_teacher_that_trained_on_the_held_out_images_is_refused(override: str) -> None:
    overrides = [f"teacher.run={saved_run()}", "data=digits", override]
    with pytest.raises(UserError, match=r"teacher.run: saved may have trained on the images that"):
        request("distill", overrides)
    assert request("distill", [*overrides, "data.selection=test"])


def test_a_run_that_names_a_strangers_callable_is_refused_unless_trusted() -> None:
    overrides = [f"network.run={saved_run('stranger.net')}"]
    with pytest.raises(UserError, match=r"network.run: .* stranger.net; .* trust=\[stranger\]"):
        request("evaluate", overrides)
    cfg = request("evaluate", [*overrides, "trust=[stranger]"])
    assert cfg.network.factory == "stranger.net"


def test_an_unfinished_run_is_no_teacher() -> None:
    directory = saved_run()
    (directory / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"teacher.run: saved has not finished"):
        request("distill", [f"teacher.run={directory}"])


def test_weights_beside_a_run_are_a_contradiction() -> None:
    overrides = [f"network.run={saved_run()}", f"network.weights={weights()}"]
    with pytest.raises(UserError, match=r"network\.weights: a run brings its own"):
        request("evaluate", overrides)


OPTIONS = sorted(
    (group.name, file.stem)
    for group in config_dir().iterdir()
    if group.is_dir()
    for file in group.glob("*.yaml")
    if file.stem[0] != "_"
)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_shipped_file_composes_into_a_valid_configuration(
    group: str, option: str, image_folder: Path
) -> None:
    overrides = [f"{group}={option}"]
    given = {"network": "name=resnet18", "optimizer": "name=lion", "data": "dataset=torch/svhn"}
    overrides += [f"{group}.{given[group]}"] if option == "timm" else []
    overrides += [f"data.root='{image_folder}'"] if option.startswith("image") else []
    if group == "analysis":
        cfg = request("evaluate", [f"{option}=true", f"network.run={saved_run()}"])
        assert isinstance(cfg, EvaluateConfig)
        assert list(cfg.shipped_analyses) == [option]
        return
    if option.endswith("_c"):
        overrides += ["data.corruption=fog", f"network.run={saved_run()}"]
        assert request("evaluate", overrides).data.name.endswith("_c-fog-3")
        return
    if option == "cifar100_mixup":
        cfg = distill(*overrides)
        assert (cfg.method.name, cfg.data.name, cfg.temperature) == ("kd_mixup", "cifar100", 4)
        return
    if group == "analyses":
        cfg = request("evaluate", [*overrides, f"network.run={saved_run()}"])
        assert isinstance(cfg, EvaluateConfig)
        assert cfg.analyses == {}
    elif group in ("divergence", "hint") or option.startswith("kd"):
        overrides += ["hint=rkd"] if (group, option) == ("divergence", "none") else []
        assert getattr(distill(*overrides), group).name == option
    else:
        network = [] if group == "network" else FINETUNE
        assert request("finetune", [*network, *overrides])


def test_a_wrong_run_is_the_only_problem_of_an_export() -> None:
    with pytest.raises(UserError) as caught:
        accept_export(compose("export", ["network.run=nowhere"]))
    assert [problem.key for problem in caught.value.problems] == ["network.run"]
    with pytest.raises(UserError) as caught:
        accept_export(compose("export", ["network.run=nowhere", "data.size=4", "format=onx"]))
    assert [p.key for p in caught.value.problems] == ["network.run", "data.size", "format"]


@pytest.mark.parametrize("data", [{}, {"source": "run"}])
def test_a_run_that_does_not_say_its_data_is_one_problem(data: dict[str, str]) -> None:
    run = saved_run()
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "data": data}))
    for command, check in (("evaluate", accept), ("export", accept_export)):
        with pytest.raises(UserError) as caught:
            check(compose(command, [f"network.run={run}"]))
        assert [problem.key for problem in caught.value.problems] == ["data"]
