"""What `mixkd reproduce` takes: artefacts, keys and overrides for the runs; and its plan."""

import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from mixkd.config.commands import ReproduceConfig
from mixkd.config.shipped import artefacts, experiments_dir
from mixkd.errors import UserError
from mixkd.launchers.job import Outcome
from mixkd.reproduction import speed
from mixkd.reproduction.overrides import by_command, trusted
from mixkd.reproduction.study import Artefact, StudyRun
from mixkd.tasks.reproduce import Reproduced, reproduce

NAMES = "takes table1, table2, table3, table4, table5, table6, table7, table8, fig2, fig3"
KEYS = "takes scale, protocol, seeds, runs, out, plan"


def reproduced(*arguments: str) -> Reproduced:
    return reproduce(ReproduceConfig.parse(arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], f"artefact: none given; {NAMES}"),
        (["tabel1"], f"artefact: got 'tabel1' (did you mean table1?); {NAMES}"),
        (["table1", "fig12"], f"artefact: got 'fig12' (did you mean fig2?); {NAMES}"),
        (["demo"], f"artefact: got 'demo'; {NAMES}"),
        (["plan"], f"artefact: got 'plan'; {NAMES}"),
        (["table1", "sclae=smoke"], f"sclae: no such key (did you mean scale?); {KEYS}"),
        (["table1", "plann=true"], f"plann: no such key (did you mean plan?); {KEYS}"),
        (
            ["table1", "optimizr.lr=1"],
            "optimizr.lr: no such key (did you mean optimizer?); takes seed,",
        ),
        (
            ["table1", "trainer.max_epoch=3"],
            "trainer.max_epoch: no such key (did you mean max_epochs?); takes accelerator,",
        ),
        (
            ["table1", "evaluate.features.nimages=3"],
            "features.nimages: no such key (did you mean n_images?); takes enabled,",
        ),
        (
            ["table1", "distill.trainer.max_epoch=3"],
            "trainer.max_epoch: no such key (did you mean max_epochs?); takes accelerator,",
        ),
        (["table1", "optimizer=sdg"], "optimizer: got 'sdg'; takes adam, adamw, sgd"),
        (["table1", "seed=3"], "seed: is for the artefact to say; seeds=0,1,2 says which"),
        (["table1", "temperature=4"], "temperature: is for the artefact to say"),
        (["table1", "student.args.width=1"], "student.args.width: is for the artefact to say"),
        (["table1", "launcher.paralel=2"], "launcher.paralel: no such key (did you mean parallel"),
        (["table1", "launcher.parallel=0"], "launcher.parallel: got 0; takes "),
        (["table1", "distill.teacher.run=DIR"], "distill.teacher.run: is for the artefact to say"),
        (
            ["table1", "plan=maybe"],
            "plan: got 'maybe'; takes true, false, or runs: print what there is to do, and stop",
        ),
        (
            ["table1", "scale=labtop"],
            "scale: got 'labtop'; takes smoke, laptop, paper, cifar100, or a .yaml file "
            "(did you mean laptop",
        ),
        (
            ["table1", "protocol=partiy"],
            "protocol: got 'partiy'; takes corrected, parity (did you mean parity?)",
        ),
        *(
            (
                ["table1", f"seeds={text}"],
                f"seeds: got {text!r}; takes whole numbers, each once, such as 0,1,2",
            )
            for text in ("0,a", "1,1", "-1", "0.5", "0;1", "[0,1,0]")
        ),
    ],
)
def test_a_mistake_gets_one_message_and_nothing_is_run(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        reproduced(*arguments)
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(message)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("key", ["runs", "out"])
def test_a_file_in_place_of_a_folder_is_refused(key: str) -> None:
    Path("file").touch()
    with pytest.raises(UserError, match=rf"^{key}: got 'file', which is a file; takes a folder"):
        reproduced("fig2", f"{key}=file")


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0,1,2", (0, 1, 2)), ("[0,1,2]", (0, 1, 2)), ("7", (7,)), ("7,", (7,)), ("", ())],
)
def test_seeds_are_whole_numbers(text: str, seeds: tuple[int, ...]) -> None:
    assert ReproduceConfig.parse(["fig2", f"seeds={text}"]).seeds == seeds
    assert ReproduceConfig.parse(["fig2"]).seeds == ()  # those of the scale


def test_artefacts_keys_and_overrides_come_in_any_order() -> None:
    config = ReproduceConfig.parse(
        ["seeds=0", "fig4", "optimizer.lr=1", "table1", "scale=paper", "fig4", "out=DIR"]
    )
    assert config == ReproduceConfig(
        ("fig4", "table1"), scale="paper", protocol="corrected", seeds=(0,), runs=Path("runs"),
        out=Path("DIR"), plan="false", overrides=("optimizer.lr=1",),
    )  # fmt: skip
    config = ReproduceConfig.parse(["fig4", "all"])
    assert config.names == list(artefacts())
    assert config.scale == "smoke"


def test_an_override_is_for_every_command_that_has_its_key() -> None:
    overrides = by_command(
        [
            "trainer.accelerator=cpu", "trainer.max_epochs=1", "method.alpha=0.5",
            "data.root=DIR", "logger=csv", "vicinal.n_pairs=5", "finetune.optimizer=adamw",
            "evaluate.data.root=OTHER", "evaluate.trainer.devices=1",
        ]
    )  # fmt: skip
    assert overrides == {
        "finetune": [
            "trainer.accelerator=cpu", "trainer.max_epochs=1", "data.root=DIR", "logger=csv",
            "optimizer=adamw",
        ],
        "distill": [
            "trainer.accelerator=cpu", "trainer.max_epochs=1", "method.alpha=0.5",
            "data.root=DIR", "logger=csv",
        ],
        "evaluate": [
            "trainer.accelerator=cpu", "logger=csv", "vicinal.n_pairs=5", "data.root=OTHER",
            "trainer.devices=1",
        ],
    }  # fmt: skip


def numbers(line: str) -> tuple[int, ...]:
    """Return how many runs a line of a plan has, and how many are to do."""
    return tuple(int(column) for column in line.split()[1:3])


@pytest.fixture
def _timed_shortly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Time networks for a moment on one thread; leave other tests their threads."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(speed, "_seconds", partial(speed._seconds, least=0.02))
    monkeypatch.setattr("mixkd.reproduction.price.cores", lambda: 1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_timed_shortly")
def test_a_plan_has_a_line_an_artefact_and_runs_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text, status = reproduced(
        "fig4", "fig7", "fig2", "seeds=0", "plan=runs", "launcher.parallel=2", "runs=RUNS"
    )
    assert status == 0
    assert not list(Path().iterdir())
    lines = text.splitlines()
    assert lines[0].split() == ["artefact", "runs", "to", "do", "hours", "disk", "GB"]
    assert [line.split()[0] for line in lines[1:5]] == ["fig4", "fig7", "fig2", "together"]
    # Four teachers and their evaluations; three teachers and a student, twice; three shared.
    assert [numbers(line) for line in lines[1:5]] == [(8, 8), (16, 16), (0, 0), (21, 21)]
    hours = [float(line.split()[3]) for line in lines[1:5]]
    assert hours[2] == 0
    assert max(hours) <= hours[3] <= sum(hours[:3]) + 0.02
    disk = [float(line.split()[4]) for line in lines[1:5]]
    assert 0 < disk[0] <= disk[3]

    timed = [line.split() for line in lines[5:] if line.startswith("  resnet")]
    assert [(name, arg) for name, arg, *_ in timed] == [
        ("resnet20", "depth=20"), ("resnet32", "depth=32"), ("resnet20", "depth=14"),
        ("resnet20", "depth=26"), ("resnet20", "depth=8"),
    ]  # fmt: skip
    assert {tuple(row[2:4]) for row in timed} == {("16", "px")}
    assert [row[6] for row in timed] == ["0.27", "0.46", "0.17", "0.37", "0.08"]
    assert capsys.readouterr().err.count("timing network") == 5

    job_lines = [line for line in lines if line.startswith(("to do  ", "done   "))]
    assert len(job_lines) == 21
    commands = [shlex.split(line.removeprefix("to do  ")) for line in job_lines]
    assert [command[:2] for command in commands] == [["mixkd", "finetune"]] * 9 + (
        [["mixkd", "evaluate"]] * 12
    )
    assert all(command[-1] == "run.root=RUNS" for command in commands)
    student_run = "network.run=RUNS/digits/finetune/resnet"  # where it will be
    assert all(
        any(argument.startswith(student_run) for argument in command) for command in commands[9:]
    )
    assert "launcher" not in text
    assert "Hours: 2 at once on this machine" in text


def test_a_plan_without_runs_times_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    text, status = reproduced("fig2", "plan=true")
    assert status == 0
    assert [line.split() for line in text.splitlines()[1:3]] == [
        ["fig2", "0", "0", "0.00", "0.00"], ["together", "0", "0", "0.00", "0.00"],
    ]  # fmt: skip
    assert "timing" not in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_an_interruption_stops_it_though_runs_had_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more is made or reported; the failures' status alone would go on."""
    states = iter(["failed", "interrupted", "interrupted"] + ["finished"] * 1000)

    def outcomes_of(runs: list[StudyRun], *arguments: object) -> dict[object, Outcome]:
        return {run.job: Outcome(next(states)) for run in runs}  # type: ignore[arg-type]

    def fail(self: Artefact, *arguments: object) -> None:
        raise AssertionError("it went on")

    monkeypatch.setattr("mixkd.tasks.reproduce.make", outcomes_of)
    monkeypatch.setattr(Artefact, "make", fail)
    with pytest.raises(KeyboardInterrupt):
        reproduced("fig2", "table5")
    assert not Path("reports").exists()
    assert Path("runs/reproduction-smoke.json").is_file()


def test_the_command_line_says_whom_a_scale_may_call() -> None:
    text = (experiments_dir() / "scales" / "smoke.yaml").read_text()
    text = text.replace("teaching: [", "teaching: [network.factory=os.system, ")
    Path("evil.yaml").write_text(text)
    for plan in ("runs", "true", "false"):
        with pytest.raises(UserError, match=r"scale: evil.yaml: got .*os.system.*trust=\[os\]"):
            reproduced("table3", "scale=evil.yaml", f"plan={plan}")
    assert list(Path().iterdir()) == [Path("evil.yaml")]
    assert trusted(["seeds=0", "trust=[os, mynet]"]) == ["os", "mynet"]
    assert trusted(["seeds=0"]) == []
