"""The presets of a protocol: which keys they set, and to what."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from mixkd.config.shipped import config_dir
from mixkd.config.tasks import DistillConfig, FinetuneConfig
from mixkd.errors import UserError
from mixkd.request import compose, request

TEACHER = ["teacher.run=teacher"]


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from flat(inner, f"{key}.{name}".lstrip("."))
    else:
        yield key, value


def composed(command: str, *overrides: str) -> dict[str, Any]:
    values = OmegaConf.to_container(compose(command, ["data=cifar100", *overrides]), resolve=True)
    return dict(flat(values))


def difference(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    missing = "(not there)"
    keys = sorted(a.keys() | b.keys())
    pairs = {k: (a.get(k, missing), b.get(k, missing)) for k in keys}
    changes = {k: pair for k, pair in pairs.items() if pair[0] != pair[1]}
    print(*(f"{k}: {x} -> {y}" for k, (x, y) in changes.items()), sep="\n")
    return changes


@pytest.mark.parametrize("command", ["distill", "finetune"])
def test_the_presets_differ_in_what_selects_alone(command: str) -> None:
    changes = difference(*(composed(command, f"protocol={p}") for p in ("corrected", "parity")))
    assert changes == {
        "protocol": ("corrected", "parity"),
        "data.selection": ("holdout", "test"),
    }


VIEWS = {
    "protocol": ("none", "parity"),
    "data.selection": ("holdout", "test"),
    "data.batch_size": (128, 200),
    "data.size": (None, 224),
    "data.resize": (None, 236),
    "data.pad": (4, 0),
    "trainer.max_epochs": (20, 500),
}


def test_what_parity_changes_for_a_student() -> None:
    changes = difference(composed("distill"), composed("distill", "protocol=parity"))
    segments = changes.pop("schedule.segments")
    assert changes == VIEWS | {
        "student.pretrained": (None, True),
        "schedule.name": ("cosine", "piecewise"),
        "schedule.warmup_epochs": (1, "(not there)"),
        "schedule.min_lr": (0.0, "(not there)"),
        "schedule.length": ("(not there)", 500),
        "schedule.stretch": ("(not there)", True),
    }
    assert len(segments[1]) == 5


def test_what_parity_changes_for_a_teacher() -> None:
    changes = difference(composed("finetune"), composed("finetune", "protocol=parity"))
    assert changes == VIEWS | {
        "optimizer.lr": (0.05, 1e-4),
        "optimizer.nesterov": (True, False),
        "optimizer.weight_decay": (5e-4, 0.0),
        "schedule.name": ("cosine", "plateau"),
        "schedule.by": ("epoch", "(not there)"),
        "schedule.warmup_epochs": (1, "(not there)"),
        "schedule.factor": ("(not there)", 0.9),
        "schedule.patience": ("(not there)", 1),
        "schedule.min_delta": ("(not there)", 1e-4),
        "schedule.min_lr": (0.0, 1e-5),
    }


def paper_config(*overrides: str) -> DistillConfig:
    teacher = Path("teacher")
    teacher.mkdir(exist_ok=True)
    (teacher / "weights.safetensors").touch()
    data_overrides = [override for override in overrides if override.startswith("data")]
    data = OmegaConf.to_container(compose("finetune", ["protocol=parity", *data_overrides]).data)
    network = OmegaConf.to_container(compose("finetune", ["network=vit_b16"]).network)
    saved = {"task": "finetune", "network": network, "data": data}
    (teacher / "config.yaml").write_text(yaml.safe_dump(saved))
    cfg = request("distill", ["protocol=parity", *TEACHER, *overrides])
    assert isinstance(cfg, DistillConfig)
    return cfg


def test_parity_is_what_the_authors_ran() -> None:
    cfg = paper_config("data=cifar100")
    assert cfg.student.starts_pretrained
    assert (cfg.student.head.units, cfg.student.head.dropout) == (256, 0.3)  # type: ignore[union-attr]
    assert (cfg.stage1_epochs, cfg.stage1.lr) == (10, 1e-3)
    assert (cfg.trainer.max_epochs, cfg.trainer.select) == (500, "accuracy")
    assert (cfg.data.batch_size, cfg.data.resize, cfg.data.size) == (200, 236, 224)
    assert (cfg.method.alpha, cfg.method.beta, cfg.method.t_squared) == (0.0, 1.0, True)
    assert cfg.method.mix is not None
    assert (cfg.method.mix.lam, cfg.method.mix.per) == ("uniform", "sample")
    assert (cfg.optimizer.name, cfg.optimizer.weight_decay) == ("adam", 0.0)


def test_labels_weigh_more_on_imagenet() -> None:
    assert paper_config("data=imagenet", "data.root=.").method.alpha == 0.2
    assert paper_config("data=imagenet", "data.root=.", "method.alpha=0.5").method.alpha == 0.5
    assert paper_config("data=cifar10").method.alpha == 0.0


def test_the_command_line_goes_above_a_preset() -> None:
    cfg = paper_config(
        "data=cifar10", "student.pretrained=false", "schedule=cosine", "data.size=64"
    )
    assert cfg.stage1_epochs == 0
    assert (cfg.schedule.name, cfg.data.size, cfg.data.resize) == ("cosine", 64, 67)


def test_both_files_of_a_command_set_the_same_keys() -> None:
    for command in ("distill", "finetune"):
        folder = config_dir() / "protocol" / command
        corrected, parity = (
            yaml.safe_load((folder / f"{p}.yaml").read_text()) for p in ("corrected", "parity")
        )
        assert corrected.pop("defaults") == parity.pop("defaults")
        assert dict(flat(corrected)).keys() == dict(flat(parity)).keys()


CRD = {
    "protocol": ("none", "crd"),
    "data.selection": ("holdout", "test"),
    "data.batch_size": (128, 64),
    "optimizer.nesterov": (True, False),
    "schedule.name": ("cosine", "multistep"),
    "schedule.by": ("epoch", "(not there)"),
    "schedule.warmup_epochs": (1, "(not there)"),
    "schedule.min_lr": (0.0, "(not there)"),
    "schedule.milestones": ("(not there)", [150, 180, 210]),
    "schedule.gamma": ("(not there)", 0.1),
    "schedule.length": ("(not there)", 240),
    "schedule.stretch": ("(not there)", True),
    "trainer.max_epochs": (20, 240),
    "trainer.select": ("accuracy", "last"),
}


def test_what_crd_changes_for_a_teacher() -> None:
    assert difference(composed("finetune"), composed("finetune", "protocol=crd")) == CRD


def test_what_crd_changes_for_a_student() -> None:
    usual = composed("distill", "method=kd", "optimizer=sgd")
    assert difference(usual, composed("distill", "protocol=crd")) == CRD | {
        "optimizer.lr": (0.05, 0.01),  # the student is a MobileNetV2
        "temperature": (2, 4),
        "method.alpha": (0.0, 0.1),
        "method.beta": (1.0, 0.9),
    }


WEIGHTS = ("temperature", "method.alpha", "method.beta", "method.warmup_epochs")
HINTS = ("at", "cc", "crd", "fitnet", "nst", "pkt", "reviewkd", "rkd", "simkd", "sp", "vid")
PUBLISHED = {
    "divergence=kl": (4, 0.1, 0.9, 0),
    "divergence=dkd": (4, 1, 1, 20),
    "divergence=dist": (4, 1, 2, 0),
    "divergence=nkd": (3, 1, 1, 0),
    "divergence=wsld": (4, 1, 2.25, 0),
    "divergence=mse": (4, 1, 1, 0),
    "divergence=ttm": (10, 1, 45, 0),
    "divergence=wttm": (5, 1, 4, 0),
    "divergence=wttm hint=crd": (5, 1, 4, 0),
    "divergence=dkd hint=reviewkd": (4, 1, 1, 20),
    "temperature=2sigma": ("2sigma", 0.1, 9, 0),
    "temperature=2sigma divergence=dkd": ("2sigma", 1, 9, 20),
    "temperature=sigma": ("sigma", 0.1, 0.9, 0),
    "temperature=3 method.alpha=0.5 method.beta=7": (3, 0.5, 7, 0),
    "trainer.max_epochs=24 divergence=dkd": (4, 1, 1, 2),
    **{f"hint={hint}": (4, 1, 1, 20 if hint == "reviewkd" else 0) for hint in HINTS},
    **{
        f"divergence=none hint={hint}": (4, 1, 1, 20 if hint == "reviewkd" else 0) for hint in HINTS
    },
}


@pytest.mark.parametrize("overrides", PUBLISHED)
def test_crd_has_the_published_weights(overrides: str) -> None:
    asked = [*overrides.split(), "data=cifar100", "student=resnet20", "teacher=resnet56"]
    asked += ["teacher.weights=teacher.pt", "protocol=crd"]
    Path("teacher.pt").touch()
    cfg = request("distill", asked)
    assert isinstance(cfg, DistillConfig)
    values = dict(flat(cfg.model_dump()))
    assert tuple(values[key] for key in WEIGHTS) == PUBLISHED[overrides]
    assert cfg.method.mix is None
    assert cfg.deviation == ("sample" if "2sigma" in overrides else "population")
    assert not cfg.is_selected_on_test


def test_crd_has_the_weights_within_a_loss_from_its_file() -> None:
    assert composed("distill", "protocol=crd", "divergence=nkd")["divergence.args.gamma"] == 3.5
    assert composed("distill", "divergence=nkd")["divergence.args.gamma"] == 1.5
    assert composed("distill", "protocol=crd", "divergence=dkd")["divergence.args.beta"] == 8
    assert composed("distill", "protocol=crd", "hint=sp")["hint.weight"] == 3000


def test_crd_begins_lower_for_a_mobile_network() -> None:
    for command, key in (("distill", "student"), ("finetune", "network")):
        rates = [
            composed(command, "protocol=crd", f"{key}={name}")["optimizer.lr"]
            for name in ("mobilenetv2", "resnet20")
        ]
        assert rates == [0.01, 0.05]


def test_crd_names_the_command_of_its_teacher() -> None:
    with pytest.raises(UserError) as error:
        request("distill", ["protocol=crd", "data=cifar10", "teacher=resnet56"])
    remedy = ("protocol=crd", "data=cifar10", "network=resnet56")
    assert error.value.problems[0].remedy == remedy


def test_what_is_typed_goes_above_crd() -> None:
    overrides = ["optimizer=adam", "schedule=onecycle", "method=kd_mixup", "data.batch_size=32"]
    values = composed("distill", "protocol=crd", *overrides)
    assert (values["optimizer.lr"], values["schedule.by"]) == (1e-3, "step")
    assert (values["method.mix.lam"], values["data.batch_size"]) == ("uniform", 32)
    assert (values["method.alpha"], values["method.beta"]) == (0.1, 0.9)


@pytest.mark.parametrize(
    ("override", "is_selected"),
    [("trainer.select=last", False), ("trainer.select=nll", True), ("schedule=plateau", True)],
)
def test_the_last_epoch_is_not_selected_on_the_test_images(
    override: str, is_selected: bool
) -> None:
    cfg = request("finetune", ["network=resnet20", "protocol=crd", override])
    assert isinstance(cfg, FinetuneConfig)
    assert cfg.is_selected_on_test == is_selected


def test_a_teacher_is_one_of_the_same_protocol() -> None:
    with pytest.raises(UserError) as error:
        request("distill", ["protocol=parity", "data=cifar10", "teacher=vit_b16"])
    remedy = error.value.problems[0].remedy
    assert remedy == ("protocol=parity", "data=cifar10", "network=vit_b16")
    assert "under protocol=parity" in str(error.value)
    trained = request("finetune", list(remedy))
    assert isinstance(trained, FinetuneConfig)
    # The run that the command makes is found, and under this protocol alone.
    run = Path("runs/cifar10/finetune/made")
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(trained.model_dump()))
    (run / "status.json").write_text('{"state": "finished"}')
    (run / "weights.safetensors").touch()
    overrides = ["data=cifar10", "teacher=vit_b16"]
    cfg = request("distill", ["protocol=parity", *overrides])
    assert isinstance(cfg, DistillConfig)
    assert cfg.teacher.run == str(run)
    for other in ("corrected", "none"):
        with pytest.raises(UserError, match="no finished run"):
            request("distill", [f"protocol={other}", *overrides])


def test_a_preset_that_does_not_exist_is_refused() -> None:
    message = (
        r"protocol: got 'paritty'; takes corrected, crd, none, parity \(did you mean parity\?\)"
    )
    with pytest.raises(UserError, match=message):
        compose("distill", ["protocol=paritty"])
    with pytest.raises(UserError, match="protocol: `mixkd evaluate` has no such key"):
        compose("evaluate", ["protocol=parity"])
