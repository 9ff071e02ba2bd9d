import re
from pathlib import Path

import pytest
import timm
import torch
from building import build, section, trainable
from timm.data.imagenet_info import ImageNetInfo
from torch import nn

from mixkd.config.shipped import group_names
from mixkd.errors import UserError
from mixkd.networks.build import build_network
from mixkd.networks.checks import check_logits
from mixkd.networks.cifar.resnet import CifarResNet
from mixkd.networks.cifar.resnet9 import ResNet9


@pytest.mark.parametrize(
    ("classes", "parameters", "with_statistics"),
    [(10, 2_554_634, 2_589_258), (100, 2_577_764, 2_612_388), (1000, 2_809_064, 2_843_688)],
)
def test_the_papers_student_has_its_parameter_counts(
    classes: int, parameters: int, with_statistics: int
) -> None:
    core = build("network=mobilenetv2", classes=classes).core
    statistics = [b for n, b in core.named_buffers() if "running" in n]
    assert trainable(core) == parameters
    assert trainable(core) + sum(b.numel() for b in statistics) == with_statistics


def test_width_makes_the_student_smaller() -> None:
    assert trainable(build("network=mobilenetv2", "network.args.width=0.35")) < 1_100_000
    with pytest.raises(UserError, match=r"args.width: got 0.3; takes 0.35, 0.5, 0.75, 1"):
        build("network=mobilenetv2", "network.args.width=0.3")


def test_timm_networks_bring_their_own_normalisation() -> None:
    network = build("network=timm", "network.name=vit_tiny_patch16_224")
    assert network.input_size == 224
    assert network.mean.flatten().tolist() == [0.5] * 3
    overridden = build("network=resnet10t", "network.mean=[0.1,0.2,0.3]", "network.std=[1,1,1]")
    assert overridden.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("name", sorted(set(group_names("network")) - {"timm"}))
def test_listed_parameter_counts_are_those_of_the_networks(name: str) -> None:
    listed = re.search(r"([\d.]+) M parameters", group_names("network")[name])
    assert listed is not None
    with torch.device("meta"):  # no memory, no weights
        core = build(f"network={name}", "network.pretrained=false", classes=1000).core
    digits = len(listed[1].partition(".")[2])
    if type(core).__module__.startswith("mixkd.networks.cifar."):  # with CIFAR's classes
        classes = 10 if isinstance(core, (CifarResNet, ResNet9)) else 100
        core = build(f"network={name}", classes=classes).core
    assert round(trainable(core) / 1e6, digits) == float(listed[1])


@pytest.mark.parametrize("name", ["convnext_large", "convnext_tiny", "vit_b16", "resnet152v2"])
def test_the_papers_teachers_have_pretrained_weights_in_timm(name: str) -> None:
    cfg = section(f"network={name}")
    assert cfg.pretrained is True
    assert cfg.name is not None
    pretrained = timm.get_pretrained_cfg(cfg.name, allow_unregistered=False)
    assert f"{pretrained.architecture}.{pretrained.tag}" == cfg.name
    assert pretrained.has_weights
    assert pretrained.input_size == (3, 224, 224)
    assert cfg.label == pretrained.architecture


def test_own_weights_leave_nothing_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    weights = tmp_path / "w.pt"
    torch.save(timm.create_model("resnet10t", num_classes=10).state_dict(), weights)
    overrides = ["network=timm", "network.name=resnet10t.c3_in1k", "network.pretrained=true"]
    assert build(*overrides, f"network.weights={weights}").input_size == 176


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["network=mobilenetv2", "network.args.width=0.35", "network.pretrained=true"],
         "network.pretrained: got true; timm has no weights of mobilenetv2_035"),
        (["network=resnet20", "network.pretrained=true"],
         "network.pretrained: resnet20 has no pretrained weights"),
        (["network=convnext_tiny", "network.weights=pretrained"],
         "network.weights: got pretrained, a head of ImageNet's 1,000 classes; the data has"),
    ],
)  # fmt: skip
def test_weights_that_nobody_has_are_not_fetched(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(*overrides)
    assert message in str(caught.value)


def test_imagenets_own_head_is_kept(tmp_path: Path) -> None:
    source = timm.create_model("resnet10t")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    wnids = ImageNetInfo("imagenet-1k").label_names()
    overrides = ["network=resnet10t", "network.weights=pretrained"]
    cfg = section(*overrides, f"network.pretrained={tmp_path}/w.pth")
    network = build_network(cfg, wnids, "network")
    state = network.core.state_dict()
    assert all(torch.equal(state[n], v) for n, v in source.state_dict().items())
    assert network.input_size == 176
    with pytest.raises(UserError, match=r"network.weights: got pretrained, a head of ImageNet's"):
        build_network(cfg, [str(k) for k in range(1000)], "network")


@pytest.mark.parametrize("name", ["checkpoint_path", "pretrained_cfg_overlay"])
def test_arguments_that_read_files_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"network.args: got {name}; take network.weights"):
        build("network=resnet10t", f"network.args={{{name}: evil.pth}}")


def test_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as caught:
        build("network=convnext_tiny")
    (problem,) = caught.value.problems
    assert problem.key == "network.pretrained"
    for part in ("convnext_tiny.fb_in1k could not be fetched", "pretrained=FILE", "HF_ENDPOINT"):
        assert part in problem.text


def without_arguments() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 7))


def with_classes(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, num_classes))


def not_a_module() -> int:
    return 3


def test_any_callable_makes_a_network() -> None:
    network = build(f"network.factory={__name__}.with_classes")
    check_logits(network, 10, (8, 8), "network")
    with pytest.raises(UserError, match=r"gives .* \(2, 7\) for two images; takes .* \(2, 10\)"):
        check_logits(build(f"network.factory={__name__}.without_arguments"), 10, (8, 8), "network")
    with pytest.raises(UserError, match=r"network: fails on 9x9 images"):
        check_logits(network, 10, (9, 9), "network")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"network.factory={__name__}.not_a_module", "returned int; takes an nn.Module"),
        (f"network.factory={__name__}.absent", "takes package.module.function"),
        ("network.factory=nodots", "takes package.module.function"),
        ("network.factory=no.such.package", "takes package.module.function"),
    ],
)
def test_a_factory_that_makes_no_network_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(override)


def test_an_unknown_timm_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no model 'resnt50' \(did you mean resnet50\?\)"):
        build("network=timm", "network.name=resnt50")


def lazy(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))


def test_layers_without_a_size_are_refused() -> None:
    with pytest.raises(UserError, match=r"network.factory: returned lazy layers"):
        build(f"network.factory={__name__}.lazy")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_pretrained_weights_are_blamed_where_they_are_to_blame(tmp_path: Path) -> None:
    torchvision = "network.factory=torchvision.models.squeezenet1_1"
    with pytest.raises(UserError, match=r"network.pretrained: got true, of which squeezenet1_1 ma"):
        build(torchvision, "network.pretrained=true")
    with pytest.raises(UserError, match=r"network.args: .* unexpected keyword argument 'depth'"):
        build(torchvision, "network.pretrained=true", "network.args={depth: 3}")
    (tmp_path / "w.pth").write_bytes(b"weights")
    with pytest.raises(UserError, match=r"network.pretrained: got a file; squeezenet1_1 has no"):
        build(torchvision, "network.pretrained=w.pth")


def test_a_run_has_nothing_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    urls: list[str] = []

    def fetch(url: str, *_: object, **__: object) -> None:
        urls.append(url)
        raise OSError("no network here")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    overrides = ["network.factory=torchvision.models.resnet18", "network.args.weights=DEFAULT"]
    cfg = section(*overrides)
    names = [str(k) for k in range(1000)]
    with pytest.raises(UserError, match=r"network\.args: .* asks for https.*put it at .*hub"):
        build_network(cfg.model_copy(update={"run": "theirs"}), names, "network")
    assert urls == []
    with pytest.raises(UserError, match="no network here"):
        build_network(cfg, names, "network")
    assert len(urls) == 1
