"""Hydra's options and its own keys, a user's folder of groups, and presets."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mixkd.config.arguments import SEARCHPATH, folders_of, read_arguments, with_folders
from mixkd.config.shipped import config_dir, group_names
from mixkd.errors import UserError
from mixkd.launchers.sweep import plan_jobs
from mixkd.reproduction.overrides import by_command, launch_settings
from mixkd.request import compose, request
from mixkd.runs.identity import experiment_hash

Mixkd = Callable[..., int]
Capture = pytest.CaptureFixture[str]
FILES = {
    "network/mynet.yaml": """\
# A network of mine.
defaults: [_base]
name: mynet
factory: mixkd.networks.cifar.resnet.cifar_resnet
args: {depth: 8}
""",
    "experiment/mine.yaml": """\
# @package _global_
# My students.
defaults:
  - override /protocol/distill@_global_: corrected
  - override /network@student: mynet
  - override /optimizer: sgd
temperature: 4
trainer: {max_epochs: 7}
""",
    "experiment/cifar/plain.yaml": "seed: 3\n",
    "optimizer/lazy.yaml": "# A slow one.\ndefaults: [sgd]\nlr: 0.001\n",
    "launcher/cluster.yaml": "# Ours.\ndefaults: [slurm]\npartition: gpu\n",
}


def write(folder: Path, **more: str) -> Path:
    """Write a folder of groups."""
    for name, text in {**FILES, **more}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def conf() -> Path:
    """A folder of one's own, by a name that wants quotes."""
    return write(Path("my conf, mine"))


INSTEAD = [
    ("hydra.run.dir=x", "hydra.run.dir: take run.dir=DIR for one run"),
    ("+hydra.run.dir=x", "hydra.run.dir: take run.dir=DIR for one run"),
    ("hydra.sweep.dir=x", "hydra.sweep.dir: take run.root=DIR"),
    ("hydra.sweep.subdir=${seed}", "hydra.sweep.subdir: take run.root=DIR"),
    ("hydra.job.chdir=true", "hydra.job.chdir: mixkd works where it was typed; run.dir=DIR"),
    ("hydra.job.name=x", "hydra.job.name: mixkd names and starts its jobs itself; run.root=DIR"),
    ("hydra.job.env_set.A=1", "hydra.job.env_set.A: set it before the command; launcher.setup"),
    ("hydra.output_subdir=.hydra", "hydra.output_subdir: config.yaml and provenance.json are in"),
    ("hydra/launcher=joblib", "hydra/launcher: take launcher.parallel=N for jobs at once, laun"),
    ("hydra.launcher.n_jobs=4", "hydra.launcher.n_jobs: take launcher.parallel=N"),
    ("hydra/sweeper=optuna", "hydra/sweeper: take KEY=a,b for all combinations, sweep.trials=N"),
    ("hydra.sweeper.n_trials=4", "hydra.sweeper.n_trials: take KEY=a,b for all combinations"),
    ("hydra/job_logging=none", "hydra/job_logging: mixkd prints, and logs nothing beside; logger"),
    ("hydra/hydra_logging=colorlog", "hydra/hydra_logging: mixkd prints, and logs nothing"),
    ("hydra.verbose=true", "hydra.verbose: HYDRA_FULL_ERROR=1 before the command"),
    ("hydra.callbacks.x._target_=y", "hydra.callbacks.x._target_: mixkd calls its own; callbacks."),
    ("hydra={run:{dir:x}}", "hydra: is Hydra's own, which mixkd does in its own way; takes"),
    ("hydra.searchpth=[x]", "hydra.searchpth: is Hydra's own, which mixkd does in its own way; tak"
     "es hydra.searchpath, hydra.mode (did you mean hydra.searchpath?)"),
    ("hydra.searchpath=conf", "hydra.searchpath: got conf; takes a list of folders, [DIR]"),
    ("hydra.searchpath=[nowhere]", "hydra.searchpath: got 'nowhere'; no such folder"),
    ("hydra.searchpath=[pkg://no.such]", "hydra.searchpath: got 'pkg://no.such'; there is no such"),
    ("hydra.mode=both", "hydra.mode: got BOTH; takes RUN, a single run, or MULTIRUN, as -m does"),
    ("hydra.mode=RUN -m", "hydra.mode: got MULTIRUN, RUN; takes RUN, a single run, or MULTIRUN"),
    ("--run -m", "hydra.mode: got MULTIRUN, RUN; takes RUN, a single run, or MULTIRUN"),
    ("-cn x", "-cn: a command has its own; experiment=NAME takes a preset of your folder"),
    ("--config-path x", "-cp: take --config-dir DIR for a folder beside mixkd's own"),
    ("--config-dir nowhere", "--config-dir: got 'nowhere'; no such folder"),
    ("--experimental-rerun x", "--experimental-rerun: the same command"),
    ("--resolve", "--resolve: is of --cfg, which prints a configuration"),
    ("-p network", "--package: is of --cfg, which prints a configuration"),
    ("seed=1 x=1 -sc install=bash", "-sc: comes before all else: mixkd -sc install=bash"),
    ("--nothing", "options: unrecognized arguments: --nothing; takes KEY=VALUE, -m, --config-dir"),
    ("--cfg job -m", "options: got -m with --cfg, which runs no job"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), INSTEAD)
def test_what_mixkd_does_in_its_own_way_is_refused_by_its_key(
    mixkd: Mixkd, capsys: Capture, words: str, message: str
) -> None:
    assert mixkd("finetune", "network=resnet20", *words.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    head, problem = said.err.splitlines()
    assert head == "mixkd finetune: 1 problem"
    assert problem.strip().lstrip("+").startswith(message)
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["list", "reproduce", "dashboard"])
def test_commands_that_only_look_into_a_folder_refuse_the_rest(
    mixkd: Mixkd, capsys: Capture, command: str
) -> None:
    words = {"list": "networks", "reproduce": "table1", "dashboard": "out=here"}[command]
    for more, message in (
        ("hydra.run.dir=x", "hydra.run.dir: take run.dir=DIR"),
        ("-m", f"options: got -m; `mixkd {command}` takes --config-dir alone"),
        ("--config-dir=nowhere", "--config-dir: got 'nowhere'; no such folder"),
    ):
        assert mixkd(command, words, more) == 2
        assert message in capsys.readouterr().err


def test_modes_are_options() -> None:
    for words in (["-m"], ["--multirun"], ["hydra.mode=MULTIRUN"], ["-m", "hydra.mode=MULTIRUN"]):
        asked = read_arguments([*words, "seed=1,2"])
        assert (asked.sweep, asked.overrides) == (True, ["seed=1,2"])
    for words in ([], ["-r"], ["hydra.mode=RUN"], ["hydra.job.chdir=false"]):
        asked = read_arguments([*words, "seed=1"])
        assert (asked.sweep, asked.overrides) == (False, ["seed=1"])


def test_a_folder_is_found_from_where_it_was_typed(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = conf.absolute()
    for words in (
        ["--config-dir", str(conf)],
        [f"--config-dir={conf}", "-cd", f"{conf}/."],
        [f"hydra.searchpath=['{conf}']"],
        [f"+hydra.searchpath=['file://{whole}']"],
        ["--config-dir", str(conf), f"hydra.searchpath=['{whole}']"],
    ):
        overrides = read_arguments(["network=mynet", *words]).overrides
        assert folders_of(overrides) == [whole]
        assert overrides[1:] == ["network=mynet"]
        assert with_folders(overrides) == overrides
        with monkeypatch.context() as elsewhere:
            elsewhere.chdir("/")
            assert compose("finetune", overrides).network.args.depth == 8
    monkeypatch.setenv("CONF", str(conf))
    assert folders_of(with_folders(["hydra.searchpath=['${oc.env:CONF}']"])) == [whole]
    Path("parts").mkdir()
    conf.rename("parts/conf")
    Path("parts/__init__.py").touch()
    monkeypatch.syspath_prepend(os.getcwd())
    overrides = with_folders(["hydra.searchpath=[pkg://parts/conf]"])
    assert folders_of(overrides) == [Path("parts/conf").absolute()]


def test_what_a_folder_gives_counts_by_its_values(conf: Path) -> None:
    place = f"hydra.searchpath=['{conf}']"
    theirs = request(
        "finetune", [place, "network=mynet", "optimizer=lazy", "experiment=cifar/plain"]
    )
    values = ["network=resnet20", "network.name=mynet", "network.args.depth=8", "seed=3",
              "optimizer=sgd", "optimizer.lr=0.001"]  # fmt: skip
    assert experiment_hash(theirs) == experiment_hash(request("finetune", values))  # type: ignore[arg-type]


def test_python_takes_a_folder_and_no_mode(conf: Path) -> None:
    overrides = [f"hydra.searchpath=['{conf}']", "network=mynet"]
    assert compose("finetune", overrides).network.args.depth == 8
    with pytest.raises(UserError, match=r"hydra.mode: is of the command line"):
        compose("finetune", [*overrides, "hydra.mode=MULTIRUN"])


def test_jobs_of_a_sweep_know_the_folder(conf: Path) -> None:
    overrides = tuple(read_arguments(["-cd", str(conf), "network=mynet"]).overrides)
    (planned,) = plan_jobs("finetune", [overrides], "a sweep")
    assert planned.outcome is None
    assert folders_of(planned.job.overrides) == [conf.absolute()]


def test_runs_of_a_reproduction_know_the_folder(conf: Path) -> None:
    places = with_folders([f"hydra.searchpath=['{conf}']"])
    taken = by_command([*places, "optimizer=lazy", "evaluate.trainer.threads=1"])
    assert taken["distill"] == [*places, "optimizer=lazy"]
    assert taken["evaluate"] == [*places, "trainer.threads=1"]
    assert launch_settings([*places, "launcher=cluster"], Path("runs")).launcher.name == "slurm"
    with pytest.raises(UserError, match="experiment: is for the artefact to say"):
        by_command([*places, "experiment=mine"])


def test_a_launcher_of_ones_own_may_be_slurm(
    mixkd: Mixkd, conf: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    asked = ["-cd", str(conf), "network=mynet", "launcher=cluster", "launcher.parallel=3"]
    assert mixkd("finetune", *asked) == 2
    assert "launcher: got slurm; " in capsys.readouterr().err


def test_a_preset_may_ask_for_trials(
    mixkd: Mixkd, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(conf, **{"experiment/search.yaml": "sweep: {trials: 3}\n"})
    searched = []
    monkeypatch.setattr("mixkd.launchers.search.run_search", lambda *asked: searched.append(asked))
    asked = ["experiment=search", "network=mynet", "optimizer.lr=0.1,0.2"]
    assert mixkd("finetune", "-m", "-cd", str(conf), *asked) == 0
    ((command, overrides),) = searched
    assert (command, overrides[1:]) == ("finetune", asked)


def test_a_file_that_would_be_passed_over_is_refused(mixkd: Mixkd, capsys: Capture) -> None:
    folder = write(Path("conf"), **{"optimizer/adam.yaml": "name: adam\nlr: 1.0\n"})
    assert mixkd("finetune", "network=resnet20", "--config-dir", "conf") == 2
    text = f"--config-dir: {folder.absolute()}/optimizer/adam.yaml would be passed over, as mixkd "
    assert f"{text}has a file of that name, optimizer/adam.yaml; give yours another" in (
        capsys.readouterr().err
    )
    assert folders_of(with_folders([f"{SEARCHPATH}=['{config_dir()}']"])) == []


def test_presets_stand_between_protocols_and_the_command_line(conf: Path) -> None:
    asked = [f"hydra.searchpath=['{conf}']", "experiment=mine", "teacher=resnet20"]
    cfg = compose("distill", asked)
    assert (cfg.protocol, cfg.data.batch_size, cfg.data.selection) == ("corrected", 200, "holdout")
    assert (cfg.optimizer.name, cfg.student.name, cfg.temperature) == ("sgd", "mynet", 4)
    assert cfg.trainer.max_epochs == 7  # the protocol says 500
    cfg = compose("distill", [*asked, "protocol=parity", "optimizer=adamw", "temperature=3"])
    assert (cfg.protocol, cfg.data.selection) == ("parity", "test")
    assert (cfg.optimizer.name, cfg.temperature, cfg.trainer.max_epochs) == ("adamw", 3, 7)
    assert "experiment" not in cfg


@pytest.mark.parametrize(
    ("words", "text", "message"),
    [
        ("experiment=mnie", "", r"experiment: got 'mnie'; takes .*mine.* \(did you mean mine\?\)"),
        ("network=mynett", "", r"network: got 'mynett'; takes .*mynet, .*did you mean mynet\?"),
        ("experiment=x", "protocol: parity\n", "experiment: x sets protocol as a value; takes it"),
        ("experiment=x", "hydra: {run: {dir: x}}\n", "experiment: a file of your folder sets hydra"
         ".run: take run.dir=DIR"),
        ("experiment=x", "hydra: {job: {chdir: true}}\n", "sets hydra.job.chdir: mixkd works"),
        ("experiment=x", "temprature: 2\n", r"temprature: no such key \(did you mean temperature"),
        ("experiment=x", "a: [\n", "experiment: while parsing a flow node"),
        ("experiment=x", "defaults: [override /nothing: x]\n", "experiment: In 'experiment/x': Coul"
         "d not override 'nothing'.*; is it a preset of another command"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(words: str, text: str, message: str) -> None:
    conf = write(Path("conf"), **{"experiment/x.yaml": text})
    asked = [f"hydra.searchpath=[{conf}]", words, "student.pretrained=false"]
    with pytest.raises(UserError, match=message):
        request("distill", asked)


def test_lists_show_what_a_folder_holds(mixkd: Mixkd, conf: Path, capsys: Capture) -> None:
    for name, line in (
        ("networks", "mynet A network of mine."),
        ("experiments", "mine My students."),
        ("experiments", "cifar/plain"),
        ("optimizers", "lazy A slow one."),
    ):
        assert mixkd("list", name) == 0
        before = capsys.readouterr().out
        assert mixkd("list", name, "--config-dir", str(conf)) == 0
        lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
        assert line in lines
        assert line.split()[0] not in before.split()


def test_hydra_prints_with_a_folder(
    mixkd: Mixkd, conf: Path, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    asked = ["finetune", "network=mynet", "-cd", str(conf)]
    assert mixkd(*asked, "--cfg", "job", "--package", "network", "--resolve") == 0
    assert yaml.safe_load(capsys.readouterr().out)["args"] == {"depth": 8}
    assert mixkd(*asked, "--info") == 0  # by its log
    assert str(conf.absolute()) in caplog.text
    assert "network/mynet" in caplog.text
    assert mixkd(*asked, "--hydra-help") == 0
    assert "Hydra" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(group_names("experiment")))
def test_a_shipped_preset_says_whose_it_is(name: str) -> None:
    command = group_names("experiment")[name].split()[1].rstrip(":")
    cfg = compose(command, [f"experiment={name}"])
    assert (cfg.data.name, cfg.trainer.max_epochs) == ("cifar100", 240)
