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
    message = r"protocol: got 'paritty'; takes corrected, none, parity \(did you mean parity\?\)"
    with pytest.raises(UserError, match=message):
        compose("distill", ["protocol=paritty"])
    with pytest.raises(UserError, match="protocol: `mixkd evaluate` has no such key"):
        compose("evaluate", ["protocol=parity"])
