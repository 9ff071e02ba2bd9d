"""`teacher=NAME`: which finished finetune run it stands for."""

import os
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from mixkd.config.tasks import DistillConfig
from mixkd.errors import UserError
from mixkd.files.writing import write_json, write_text
from mixkd.networks.build import build_network
from mixkd.networks.cifar.resnet import CifarResNet
from mixkd.networks.origin import MOVED, is_trusted, label_names
from mixkd.parts import import_callable
from mixkd.request import compose, request
from mixkd.runs.read import read_run


def save_run(*overrides: str, state: str = "finished") -> Path:
    """Write what a finetune run leaves behind, as far as a lookup reads it."""
    cfg = request("finetune", list(overrides))
    run = Path(f"runs/{cfg.data.name}/finetune/{len(list(Path('.').rglob('status.json')))}")
    write_text(run / "config.yaml", yaml.safe_dump(cfg.model_dump()))
    write_text(run / "weights.safetensors", "weights")
    write_json(run / "status.json", {"state": state})
    return run


def distill(*overrides: str) -> DistillConfig:
    cfg = request("distill", list(overrides))
    assert isinstance(cfg, DistillConfig)
    return cfg


def test_a_name_is_its_finished_run_on_these_data() -> None:
    save_run("network=resnet56")
    save_run("network=resnet20", "data=cifar10")
    save_run("network=resnet20", "data.split_seed=1")  # it trained on our held-out images
    save_run("network=resnet20", "network.args.depth=8")
    save_run("network=resnet20", state="running")
    save_run("network=resnet20", "method=mixup")  # a teacher learns from labels without mixup
    save_run("network=resnet20", "data.limit_train=200")  # or from fewer images than its student
    run = save_run("network=resnet20", "data.batch_size=32", "trainer.max_epochs=3")
    cfg = distill("teacher=resnet20")
    assert cfg.teacher.run == str(run)
    assert cfg.teacher.weights == str(run / "weights.safetensors")
    assert cfg.teacher.args == {"depth": 20}


def test_two_runs_that_fit_are_refused() -> None:
    runs = [save_run("network=resnet20", f"seed={seed}") for seed in (0, 1)]
    with pytest.raises(UserError, match=r"2 finished runs fit; take teacher\.run=DIR") as caught:
        distill("teacher=resnet20")
    assert all(str(run) in str(caught.value) for run in runs)
    assert distill("teacher=resnet20", f"teacher.run={runs[1]}").teacher.run == str(runs[1])


@pytest.mark.parametrize(
    "overrides",
    [
        ["teacher=resnet20"],
        ["teacher=resnet20", "teacher.args.depth=8", "data.split_seed=3"],
        ["teacher=timm", "teacher.name=resnet50", "data=cifar100", "run.root=elsewhere"],
        ["teacher=resnet18", "data=cifar10", "data.root='it\\'s = odd, this'"],
    ],
)
def test_without_a_run_that_fits_the_command_that_makes_it_is_printed(overrides: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        distill(*overrides)
    (problem,) = caught.value.problems
    command = shlex.split(problem.text.split("`")[1])
    assert command == ["mixkd", "finetune", *problem.remedy]
    trained = request("finetune", problem.remedy)
    asked_for = compose("distill", overrides)
    for key in ("source", "root", "split_seed"):
        assert getattr(trained.data, key) == asked_for.data[key]
    assert trained.network.name == asked_for.teacher.name
    assert trained.network.args == asked_for.teacher.args
    assert trained.run.root == asked_for.run.root


def test_factories_of_older_runs_are_found_where_they_are_now() -> None:
    run = save_run("network=resnet20")
    config = run / "config.yaml"
    (old, new), *_ = MOVED.items()
    assert new in config.read_text()
    write_text(config, config.read_text().replace(new, old))
    assert distill("teacher=resnet20").teacher.run == str(run)
    cfg = distill(f"teacher.run={run}", "teacher=_none")
    assert cfg.teacher.factory == new
    assert isinstance(build_network(cfg.teacher.model_copy(update={"weights": None}),
                                    "ab", "teacher").core, CifarResNet)  # fmt: skip
    assert read_run(run.parent, run).section("network")["factory"] == new


def test_moved_factories_can_be_called() -> None:
    for new in MOVED.values():
        assert is_trusted(new, [])
        import_callable(new, "network.factory")


@pytest.mark.parametrize(
    "overrides",
    [
        ["teacher=mobilenetv2", "teacher.head=null", "teacher.args.width=0.35"],
        ["teacher=mobilenetv2", "teacher.head.units=64"],
        ["teacher=resnet20", "teacher.mean=[0.5,0.5,0.5]", "teacher.std=[0.2,0.2,0.2]"],
        ["teacher=resnet18", "teacher.input_size=64"],
        ["teacher=convnext_tiny", "teacher.pretrained=false"],
    ],
)
def test_the_command_that_is_printed_makes_what_is_looked_for(overrides: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        distill(*overrides)
    run = save_run(*caught.value.problems[0].remedy)
    assert distill(*overrides).teacher.run == str(run)
    with pytest.raises(UserError, match="no finished run"):
        distill(overrides[0], "teacher.input_size=99")


@pytest.mark.parametrize("args", ["null", "5"])
def test_arguments_that_are_none_are_no_traceback(args: str) -> None:
    with pytest.raises(UserError):
        distill("teacher=resnet20", f"teacher.args={args}")


def test_a_teacher_may_have_started_from_a_file() -> None:
    write_text(Path("w.pth"), "weights")
    run = save_run("network=resnet10t", "network.pretrained=w.pth")
    assert distill("teacher=resnet10t").teacher.run == str(run)
    assert distill("teacher=resnet10t", "teacher.pretrained=true").teacher.run == str(run)
    with pytest.raises(UserError, match="no finished run"):
        distill("teacher=resnet10t", "teacher.pretrained=false")


def test_a_damaged_record_is_no_record_of_other_images() -> None:
    run = save_run("network=resnet20")
    record = run / "provenance.json"
    record.unlink(missing_ok=True)
    for text in ("{", '{"a":' * 100):
        record.write_text(text)
        with pytest.raises(UserError, match=r"config.yaml has no sound record beside it: .*prov"):
            distill("teacher=resnet20", f"teacher.run={run}")
    record.unlink()
    os.mkfifo(record)
    with pytest.raises(UserError, match="it is no regular file"):
        distill("teacher=resnet20", f"teacher.run={run}")


def test_a_damaged_run_is_passed_over_and_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    good = save_run("network=resnet20")
    Path("outside.yaml").write_text((good / "config.yaml").read_text())
    bad = {
        "link": None,
        "deep": "[" * 100_000,
        "bomb": "a: &a [*a]",
        "large": f"seed: 1{'0' * 400}",
    }
    for name, text in bad.items():
        folder = good.with_name(name)
        shutil.copytree(good, folder)
        (folder / "config.yaml").unlink()
        if text is None:
            (folder / "config.yaml").symlink_to(Path("outside.yaml").absolute())
        else:
            (folder / "config.yaml").write_text(text)
    for _ in range(2):
        assert distill("teacher=resnet20").teacher.run == str(good)
    messages = capsys.readouterr().err
    assert messages.count("passed over: ") == len(bad)
    for name in bad:
        assert f"/{name}/config.yaml is damaged: " in messages
        with pytest.raises(
            UserError, match=r"teacher.run: .* is no run's configuration: "
        ) as caught:
            distill("teacher=resnet20", f"teacher.run={good.with_name(name)}")
        assert len(caught.value.problems) == 1


def test_weights_are_those_of_the_run() -> None:
    run = save_run("network=resnet20")
    (run / "weights.safetensors").rename("elsewhere.safetensors")
    (run / "weights.safetensors").symlink_to(Path("elsewhere.safetensors").absolute())
    with pytest.raises(UserError, match=r"weights.safetensors is damaged: it is a link out of"):
        distill("teacher=resnet20", f"teacher.run={run}")


def test_an_export_of_endless_classes_is_none() -> None:
    config = {"architecture": "resnet18", "num_classes": 10**15, "pretrained_cfg": {}}
    with pytest.raises(ValueError, match="num_classes is 10"):
        label_names(config)
