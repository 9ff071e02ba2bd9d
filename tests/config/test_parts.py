"""A part of one's own, by factory and args or as Hydra writes it, is one thing."""

from pathlib import Path

import pytest

from mixkd.config.fields import pruned
from mixkd.config.parts import factories, method_name
from mixkd.config.tasks import DistillConfig, EvaluateConfig, FinetuneConfig
from mixkd.config.training import MixConfig
from mixkd.data.batches import mixing_of
from mixkd.errors import UserError
from mixkd.request import request
from mixkd.runs.identity import experiment_hash
from mixkd.vicinal import Mixing


def distill(*overrides: str) -> DistillConfig:
    Path("weights.pth").write_text("weights")
    given = ["teacher=resnet20", "teacher.weights=weights.pth", *overrides]
    cfg = request("distill", given)
    assert isinstance(cfg, DistillConfig)
    return cfg


def finetune(*overrides: str) -> FinetuneConfig:
    cfg = request("finetune", ["network=resnet20", *overrides])
    assert isinstance(cfg, FinetuneConfig)
    return cfg


@pytest.mark.parametrize("key", ["divergence", "hint", "optimizer", "schedule"])
def test_a_part_has_two_forms(key: str) -> None:
    cfg = distill(f"{key}.factory=mine.part", f"{key}.args.a=1", f"{key}.args.b=[x,2]")
    other = distill(f"{key}._target_=mine.part", f"{key}.a=1", f"{key}.b=[x,2]")
    part = getattr(cfg, key)
    assert part == getattr(other, key)
    assert (part.factory, part.args, part.label) == ("mine.part", {"a": 1, "b": ["x", 2]}, "part")
    assert experiment_hash(cfg) == experiment_hash(other) != experiment_hash(distill())
    more = distill(f"{key}.factory=mine.part", f"{key}.args.a=2", f"{key}.args.b=[x,2]")
    assert experiment_hash(cfg) != experiment_hash(more)


def test_a_network_in_hydras_form_keeps_its_other_keys() -> None:
    mean = "network.mean=[0.1,0.2,0.3]"
    cfg = request("finetune", ["network._target_=mine.net", "network.depth=3", mean])
    assert isinstance(cfg, FinetuneConfig)
    assert (cfg.network.factory, cfg.network.args) == ("mine.net", {"depth": 3})
    assert cfg.network.mean == [0.1, 0.2, 0.3]
    assert cfg == request("finetune", ["network.factory=mine.net", "network.args.depth=3", mean])
    with pytest.raises(UserError, match=r"network.factory: got one beside _target_"):
        finetune("network._target_=mine.net")


def test_a_method_of_ones_own_has_the_keys_of_the_shipped_one() -> None:
    cfg = distill("method.factory=mine.Learner", "method.args.gamma=2", "method.alpha=0.5")
    assert cfg.method.part is not None
    assert cfg.method.part.args == {"gamma": 2}
    assert (cfg.method.name, cfg.method.alpha) == ("kd_mixup", 0.5)
    assert distill("method=kd", "method._target_=mine.Learner").method.mix is None
    assert distill().method.part is None


@pytest.mark.parametrize(
    ("key", "name"), [("callbacks", "early"), ("logger", "mine"), ("metrics", "f1")]
)
def test_parts_by_name_have_two_forms(key: str, name: str) -> None:
    cfg = finetune(f"{key}.{name}._target_=mine.Part", f"{key}.{name}.patience=3")
    other = finetune(f"{key}.{name}.factory=mine.Part", f"{key}.{name}.args.patience=3")
    assert cfg == other
    section = getattr(cfg, key)
    parts = section if isinstance(section, dict) else section.parts
    assert parts[name].args == {"patience": 3}
    # A logger changes no result; a metric and a callback may.
    assert (experiment_hash(cfg) == experiment_hash(finetune())) == (key == "logger")


def test_an_analysis_of_ones_own_is_of_an_evaluation() -> None:
    Path("weights.pth").write_text("weights")
    network = ["network=resnet20", "network.weights=weights.pth", "data=digits"]
    analysis = ["analyses.mine._target_=mine.Analysis", "analyses.mine.a=1"]
    cfg = request("evaluate", [*network, *analysis])
    assert isinstance(cfg, EvaluateConfig)
    assert cfg.analyses["mine"].args == {"a": 1}


def test_a_file_of_a_folder_needs_no_more_than_the_target() -> None:
    for group, text in {
        "divergence": "_target_: losses.dkd\n_partial_: true\nalpha: 1.0\n",
        "method": "_target_: mine.Learner\ngamma: 2\n",
        "schedule": "name: mine\nfactory: mine.decay\nargs: {power: 2}\nby: step\n",
        "metrics": "f1: {_target_: torchmetrics.F1Score, task: multiclass}\n",
    }.items():
        Path("conf", group).mkdir(parents=True)
        Path("conf", group, "mine.yaml").write_text(text)
    Path("conf/network").mkdir()
    Path("conf/network/mine.yaml").write_text("_target_: mine.net\ndepth: 3\n")
    cfg = distill(
        "hydra.searchpath=[conf]", "divergence=mine", "divergence.alpha=2", "method=mine",
        "method.args.delta=3", "schedule=mine", "schedule.args.power=3", "metrics=mine",
        "metrics.f1.average=macro", "student=mine",
    )  # fmt: skip
    assert cfg.divergence.args == {"alpha": 2}  # type: ignore[union-attr]
    assert cfg.method.part is not None
    assert cfg.method.part.args == {"gamma": 2, "delta": 3}
    assert cfg.schedule.label == "mine"  # type: ignore[union-attr]
    assert cfg.schedule.args == {"power": 3}  # type: ignore[union-attr]
    assert cfg.metrics["f1"].args == {"task": "multiclass", "average": "macro"}
    assert cfg.student.args == {"depth": 3}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("divergence=dkdd", "divergence: got 'dkdd'; takes dist, dkd, kl, mse"),
        ("divergence=dkdd", "wttm (did you mean dkd?); your own is divergence.factory="),
        ("divergence.factory=dkd", "got 'dkd'; takes a dotted path, package.module.function"),
        ("divergence.name=dkd", "divergence.name: got 'dkd'; takes kl, none"),
        (
            "callbacks.calibraton.every_n_epochs=3",
            "calibraton: no such key (did you mean",
        ),
        ("callbacks.early.args.patience=3", "callbacks.early: no such key"),
        ("metrics.f1=3", "metrics.f1: no such key; takes yours: metrics.f1.factory="),
        ("metrics.ece.factory=a.b", "metrics.ece: is a name that mixkd has already"),
        ("metrics.F1.factory=a.b", "metrics.F1: takes small letters, digits and _"),
        ("hint.weight=-1 hint.factory=a.b", "hint.weight: got -1"),
        ("schedule.factory=a.b schedule.by=steps", "schedule.by: got 'steps'; takes epoch, step"),
        ("optimizer=timm", "optimizer.name: got null; takes the name of an optimizer of timm's"),
        ("divergence._target_=a.b divergence.x=1 divergence.args.x=2", "divergence.x is the same"),
        ("metrics.f1._target_=a.b metrics.f1.x=1 metrics.f1.args.x=2", "metrics.f1.x is the same"),
        ("divergence._target_=a.b divergence.args=3", "divergence.args: got 3; takes keyword"),
        ("divergence._target_=a.b divergence._partial_=false", "divergence._partial_: got false"),
        ("metrics.f1._target_=a.b metrics.f1._partial_=true", "metrics.f1._partial_: got true"),
        ("metrics.f1._target_=a.b metrics.f1._args_=[1]", "given by their names"),
    ],
)
def test_what_is_no_part_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        distill(*override.split())
    assert message in str(caught.value)


def test_every_callable_of_a_configuration_is_known() -> None:
    section = {"factory": "a.b", "args": {"factory": "word", "inner": [{"_target_": "c.d"}]}}
    assert dict(factories({"network": section})) == {
        "network.factory": "a.b", "network.args.inner[0]._target_": "c.d"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "short", "whole"),
    [
        ([], "kd_mixup", "kd_mixup"),
        (["divergence.factory=a.dkd"], "kd_mixup+dkd", "kd_mixup+dkd"),
        (
            [
                "method=kd",
                "divergence.factory=a.dkd",
                "divergence.args.beta=8",
                "hint.factory=b.h",
            ],
            "kd+dkd+h",
            "kd+dkd(beta=8)+h",
        ),
        (["method.factory=a.Mine", "method.args.x=1"], "kd_mixup+Mine", "kd_mixup+Mine(x=1)"),
        (["divergence.factory=a.f", "divergence.name=mine"], "kd_mixup+mine", "kd_mixup+mine"),
        (["method.mix.kind=cutmix", "divergence.factory=a.dkd"], "kd_cutmix+dkd", "kd_cutmix+dkd"),
        (["method.mix.kind=switch", "method.mix.prob=0.5"], "kd_switch", "kd_switch(prob=0.5)"),
    ],
)
def test_a_method_is_named_with_what_is_not_usual(
    overrides: list[str], short: str, whole: str
) -> None:
    raw = distill(*overrides).model_dump()
    assert method_name(raw) == short
    assert method_name(raw, args=True) == whole
    assert method_name({"method": {"name": 3}, "divergence": 7}) == ""


@pytest.mark.parametrize(
    ("overrides", "short", "whole"),
    [
        ([], "focal", "focal"),
        (["method.args.gamma=2"], "focal", "focal(gamma=2)"),
        (["method.mix={}"], "focal+mixup", "focal+mixup"),
        (["method.mix={kind: cutmix, prob: 0.5}", "method.args.gamma=2"],
         "focal+cutmix", "focal(gamma=2)+cutmix(prob=0.5)"),
    ],
)  # fmt: skip
def test_a_loss_is_named_with_its_arguments_and_with_what_is_mixed(
    overrides: list[str], short: str, whole: str
) -> None:
    raw = finetune("method=focal", *overrides).model_dump()
    assert method_name(raw) == short
    assert method_name(raw, args=True) == whole


def test_a_mixing_is_completed_as_mixup_has_it() -> None:
    assert mixing_of(finetune("method=margin", "method.mix={lam: 0.3}").method.mix) == Mixing(0.3)


def test_names_of_runs_and_tapes_hold_the_keys_of_mixing_that_they_always_held() -> None:
    mix = finetune("method=mixup").method.mix
    assert mix is not None
    before = {"lam": "uniform", "a": 1.0, "per": "sample", "kind": "mixup"}
    assert pruned(MixConfig, mix.model_dump()) == before
