import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from omegaconf import OmegaConf
from timm.data.imagenet_info import ImageNetInfo
from torch import nn

from mixkd.config.network import NetworkConfig
from mixkd.config.shipped import group_names
from mixkd.errors import UserError
from mixkd.networks.build import build_network
from mixkd.networks.checks import check_logits, check_training
from mixkd.networks.cifar.resnet import CifarResNet
from mixkd.networks.network import FrozenTeacher, Network, head_of
from mixkd.networks.weights import load_weights, read_tensors, save_weights
from mixkd.request import compose

RESNET56 = Path(__file__).parents[3] / "shared" / "data" / "resnet56-4bfd9763.th"

NAMES = [f"class{k}" for k in range(10)]


def section(*words: str) -> NetworkConfig:
    raw = OmegaConf.to_container(compose("finetune", list(words))["network"])
    return NetworkConfig.model_validate(raw)


def build(*words: str, classes: int = 10) -> Network:
    return build_network(section(*words), [f"class{k}" for k in range(classes)], "network")


def trainable(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


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


# He et al. (2016), Table 6: 0.27 M, 0.46 M, 0.66 M, 0.85 M, 1.7 M.
@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_cifar_resnets_have_the_published_sizes(depth: int, millions: float) -> None:
    digits = 1 if depth == 110 else 2
    assert round(trainable(CifarResNet(depth, 10)) / 1e6, digits) == millions


def test_cifar_resnet_of_another_depth_is_refused() -> None:
    with pytest.raises(UserError, match=r"network.args: .*depth 21 is not 6n \+ 2"):
        build("network=resnet20", "network.args.depth=21")


@pytest.mark.skipif(not RESNET56.is_file(), reason="the public checkpoint is not in the repository")
def test_a_public_checkpoint_loads_strictly() -> None:
    core = CifarResNet(56, 10)
    load_weights(core, RESNET56, "network.weights", NAMES)
    theirs = torch.load(RESNET56, map_location="cpu", weights_only=True)["state_dict"]
    own = core.state_dict()
    for name, value in theirs.items():
        assert torch.equal(own[name.removeprefix("module.")], value), name
    added = own.keys() - {name.removeprefix("module.") for name in theirs}
    assert all(name.endswith("num_batches_tracked") for name in added)


def test_option_a_shortcut_subsamples_and_pads_channels() -> None:
    block = CifarResNet(20, 10).layer2[0].eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 16, 6, 6)
    y = block(x)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


def test_a_network_normalises_and_resizes_for_itself() -> None:
    network = Network(nn.Identity(), [0.5, 0.25, 0.0], [0.5, 0.25, 2.0], input_size=4)
    view = torch.ones(1, 3, 9, 9)
    found = network(view)
    assert found.shape == (1, 3, 4, 4)
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([1.0, 3.0, 0.5]))


def test_timm_networks_bring_their_own_normalisation() -> None:
    network = build("network=timm", "network.name=vit_tiny_patch16_224")
    assert network.input_size == 224
    assert network.mean.flatten().tolist() == [0.5] * 3
    given = build("network=resnet10t", "network.mean=[0.1,0.2,0.3]", "network.std=[1,1,1]")
    assert given.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("name", sorted(set(group_names("network")) - {"timm"}))
def test_the_listed_parameter_counts_are_true(name: str) -> None:
    listed = re.search(r"([\d.]+) M parameters", group_names("network")[name])
    assert listed is not None
    with torch.device("meta"):  # no memory, no weights
        core = build(f"network={name}", "network.pretrained=false", classes=1000).core
    digits = len(listed[1].partition(".")[2])
    # A CIFAR ResNet is listed with ten classes.
    extra = 65 * 990 if isinstance(core, CifarResNet) else 0
    assert round((trainable(core) - extra) / 1e6, digits) == float(listed[1])


@pytest.mark.parametrize("name", ["convnext_large", "convnext_tiny", "vit_b16", "resnet152v2"])
def test_the_papers_teachers_have_pretrained_weights_in_timm(name: str) -> None:
    cfg = section(f"network={name}")
    assert cfg.pretrained is True
    assert cfg.name is not None
    known = timm.get_pretrained_cfg(cfg.name, allow_unregistered=False)
    assert f"{known.architecture}.{known.tag}" == cfg.name
    assert known.has_weights
    assert known.input_size == (3, 224, 224)
    assert cfg.label == known.architecture


def test_pretrained_weights_come_from_a_file_with_a_new_head(tmp_path: Path) -> None:
    source = timm.create_model("resnet10t", num_classes=1000)
    torch.save(source.state_dict(), tmp_path / "resnet10t.pth")
    network = build("network=resnet10t", f"network.pretrained={tmp_path}/resnet10t.pth")
    assert network.input_size == 176  # what timm trained these weights on
    own, theirs = network.core.state_dict(), source.state_dict()
    head = {"fc.weight", "fc.bias"}
    assert all(torch.equal(own[name], theirs[name]) for name in own.keys() - head)
    assert own["fc.weight"].shape == (10, 512)


def test_own_weights_leave_nothing_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    weights = tmp_path / "w.pt"
    torch.save(timm.create_model("resnet10t", num_classes=10).state_dict(), weights)
    words = ["network=timm", "network.name=resnet10t.c3_in1k", "network.pretrained=true"]
    assert build(*words, f"network.weights={weights}").input_size == 176


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.zeros(3)}, "is of another network: it lacks "),
        (b"junk", "cannot be read as safetensors or a plain state dict"),
        (b"", "cannot be read as safetensors or a plain state dict"),
        ("mobilenetv2_050", "is of another shape"),
        ("resnet10t", "is of another network"),
    ],
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_backbone_of_another_network_is_refused(
    tmp_path: Path, content: Any, message: str, suffix: str
) -> None:
    path = tmp_path / f"back.{suffix}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        state = timm.create_model(content).state_dict() if isinstance(content, str) else content
        (torch.save if suffix == "pth" else safetensors.torch.save_file)(state, path)
    with pytest.raises(UserError) as caught:
        build("network=mobilenetv2", "network.args.width=0.35", f"network.pretrained={path}")
    (problem,) = caught.value.problems
    assert problem.key == "network.pretrained"
    assert message in problem.text


def test_a_backbone_may_bear_the_names_that_wrappers_gave(tmp_path: Path) -> None:
    state = timm.create_model("mobilenetv2_035").state_dict()
    torch.save({"state_dict": {f"module.{n}": v for n, v in state.items()}}, tmp_path / "b.pth")
    network = build(
        "network=mobilenetv2", "network.args.width=0.35", f"network.pretrained={tmp_path}/b.pth"
    )
    own = network.core.state_dict()
    names = [n for n in state if not n.startswith("classifier")]
    assert len(names) > 200
    assert all(torch.equal(own[n], state[n]) for n in names)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["network=mobilenetv2", "network.args.width=0.35", "network.pretrained=true"],
         "network.pretrained: got true; timm has no weights of mobilenetv2_035"),
        (["network=resnet20", "network.pretrained=true"],
         "network.pretrained: resnet20 has no pretrained weights"),
        (["network=convnext_tiny", "network.weights=pretrained"],
         "network.weights: got pretrained, a head of ImageNet's 1,000 classes; the data has"),
    ],
)  # fmt: skip
def test_weights_that_nobody_has_are_not_fetched(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(*words)
    assert message in str(caught.value)


def test_imagenets_own_head_is_kept(tmp_path: Path) -> None:
    source = timm.create_model("resnet10t")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    wnids = ImageNetInfo("imagenet-1k").label_names()
    words = ["network=resnet10t", "network.weights=pretrained"]
    cfg = section(*words, f"network.pretrained={tmp_path}/w.pth")
    network = build_network(cfg, wnids, "network")
    own = network.core.state_dict()
    assert all(torch.equal(own[n], v) for n, v in source.state_dict().items())
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


@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod.", "network.core."])
@pytest.mark.parametrize("nested", [False, True])
def test_weights_are_read_whatever_wrapped_them(prefix: str, nested: bool, tmp_path: Path) -> None:
    source, target = CifarResNet(8, 10), CifarResNet(8, 10)
    state: dict[str, Any] = {prefix + n: v for n, v in source.state_dict().items()}
    path = tmp_path / "w.th"
    torch.save({"state_dict": state, "epoch": 3} if nested else state, path)
    load_weights(target, path, "k", NAMES)
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


class Wrapper(nn.Module):
    """A network whose own names all begin as a wrapper's would."""

    def __init__(self) -> None:
        super().__init__()
        self.model = CifarResNet(8, 10)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_networks_own_names_are_not_taken_for_a_wrappers(prefix: str, tmp_path: Path) -> None:
    source, target = Wrapper(), Wrapper()
    torch.save({prefix + n: v for n, v in source.state_dict().items()}, tmp_path / "w.pt")
    load_weights(target, tmp_path / "w.pt", "k", NAMES)
    assert torch.equal(source.model.linear.weight, target.model.linear.weight)


def test_tied_weights_are_saved(tmp_path: Path) -> None:
    shared = nn.Linear(4, 4)
    save_weights(nn.Sequential(shared, shared), tmp_path / "w.safetensors", ["a"])
    assert len(safetensors.torch.load_file(tmp_path / "w.safetensors")) == 4


def test_safetensors_round_trip_with_class_names(tmp_path: Path) -> None:
    core, path = CifarResNet(8, 3), tmp_path / "w.safetensors"
    save_weights(core, path, ["a", "b", "c"])
    assert set(safetensors.torch.load_file(path)) == set(core.state_dict())
    load_weights(CifarResNet(8, 3), path, "k", ["a", "b", "c"])
    with pytest.raises(UserError, match=r"k: .* trained on the 3 classes a, b, c; .* a, b, d"):
        load_weights(CifarResNet(8, 3), path, "k", ["a", "b", "d"])


def test_weights_that_do_not_fit_say_why(tmp_path: Path) -> None:
    path = tmp_path / "w.th"
    torch.save(CifarResNet(8, 100).state_dict(), path)
    with pytest.raises(UserError, match=r"trained on 100 classes; the data has 10"):
        load_weights(CifarResNet(8, 10), path, "k", NAMES)
    with pytest.raises(UserError, match=r"of another network: it lacks layer1.1.bn1.bias"):
        load_weights(CifarResNet(14, 100), path, "k", NAMES)


class Payload:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


def test_unreadable_weights_are_refused_and_nothing_in_them_runs(tmp_path: Path) -> None:
    for name in ("garbage.th", "garbage.safetensors", "text.pth"):
        content = (
            b"root:x:0:0:root:/root:/bin/sh\n" if name == "text.pth" else b"not weights at all"
        )
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            read_tensors(tmp_path / name, "k")
    torch.save({"state_dict": Payload()}, tmp_path / "evil.th")
    with pytest.raises(UserError, match="cannot be read"):
        read_tensors(tmp_path / "evil.th", "k")
    assert not Path("executed").exists()
    torch.save({"epoch": 3}, tmp_path / "empty.th")
    with pytest.raises(UserError, match="holds no state dict"):
        load_weights(CifarResNet(8, 10), tmp_path / "empty.th", "k", NAMES)


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
    ("word", "said"),
    [
        (f"network.factory={__name__}.not_a_module", "returned int; takes an nn.Module"),
        (f"network.factory={__name__}.absent", "takes package.module.function"),
        ("network.factory=nodots", "takes package.module.function"),
        ("network.factory=no.such.package", "takes package.module.function"),
    ],
)
def test_a_factory_that_makes_none_is_refused(word: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        build(word)


def test_an_unknown_timm_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no model 'resnt50' \(did you mean resnet50\?\)"):
        build("network=timm", "network.name=resnt50")


def test_a_frozen_teacher_stays_as_it_is() -> None:
    network = build("network=resnet20")
    before = {n: v.clone() for n, v in network.state_dict().items()}
    teacher = FrozenTeacher(network.train())
    view = torch.rand(4, 3, 16, 16, requires_grad=True)
    logits = teacher(view)
    assert not logits.requires_grad
    assert not logits.is_inference()
    assert not network.training
    assert not isinstance(teacher, nn.Module)
    assert all(torch.equal(v, before[n]) for n, v in teacher.state_dict().items())


class Answers(nn.Module):
    """Two linear heads over means of colour; `answer` makes of their logits what is returned."""

    def __init__(self, num_classes: int, answer: str) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, num_classes), nn.Linear(3, num_classes)
        self.norm, self.drop, self.kind = nn.BatchNorm1d(3), nn.Dropout(0.5), answer

    def forward(self, x: torch.Tensor) -> Any:
        means = self.drop(self.norm(x.mean((2, 3))))
        first, second = self.a(means), self.b(means)
        if not self.training:
            return first
        match self.kind:
            case "tuple":
                return first, second
            case "dict":
                return {"loss": None, "aux": second, "logits": first}
            case "features first":
                return x, first
            case "fails":
                raise KeyError("target")
            case "needs four" if len(x) % 4:
                raise ValueError("takes fours")
            case "in place":
                return first.sigmoid().mul_(first.sigmoid().exp_())
            case "detached":
                return first.detach()
        return first


def answers(kind: str) -> Network:
    return Network(Answers(10, kind))


@pytest.mark.parametrize("kind", ["tuple", "dict"])
def test_auxiliary_logits_are_left_and_named(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    network = answers(kind)
    check_training(network, 10, (8, 8), "network", 16)
    said = capsys.readouterr().err
    assert f"network: returns a {kind} of {2 if kind == 'tuple' else 3} while it trains" in said
    # They depend on `a` alone: what `b` holds stays as it is.
    assert network.unreached == ["b.weight", "b.bias"]
    assert "b.weight, b.bias learn nothing" in said
    view = torch.rand(4, 3, 8, 8)
    torch.manual_seed(3)
    found = network.train()(view)
    torch.manual_seed(3)
    returned = network.core.train()((view - network.mean) / network.std)
    assert torch.equal(found, returned[0] if kind == "tuple" else returned["logits"])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("features first", r"gives torch.float32 \(2, 3, 8, 8\) for two images while it trains"),
        ("fails", r"fails in training on 16 images of 8x8: KeyError: 'target'"),
        ("in place", r"fails in training on 16 images of 8x8: RuntimeError: .*inplace"),
        ("detached", r"gives logits that depend on no parameter that learns"),
    ],
)
def test_a_network_that_cannot_train_is_told_before_it_does(kind: str, said: str) -> None:
    with pytest.raises(UserError, match=f"^network: {said}"):
        check_training(answers(kind), 10, (8, 8), "network", 16)


def test_a_frozen_network_is_told() -> None:
    network = answers("plain")
    network.core.requires_grad_(False)
    with pytest.raises(UserError, match=r"^student: has no parameter that learns"):
        check_training(network, 10, (8, 8), "student", 16)


def test_a_network_may_take_whole_batches_alone() -> None:
    check_training(answers("needs four"), 10, (8, 8), "network", 16)
    with pytest.raises(UserError, match=r"on 6 images of 8x8: ValueError: takes fours"):
        check_training(answers("needs four"), 10, (8, 8), "network", 6)


@pytest.mark.parametrize("kind", ["plain", "fails"])
def test_a_query_leaves_a_network_and_what_is_random_as_they_were(kind: str) -> None:
    network = answers(kind)
    network.core.norm.num_batches_tracked.fill_(7)
    state = {n: v.clone() for n, v in network.state_dict().items()}
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    for mode in (True, False):
        network.train(mode)
        try:
            check_training(network, 10, (8, 8), "network", 16)
        except UserError:
            assert kind == "fails"
        assert network.training == mode
    assert all(torch.equal(v, state[n]) for n, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_a_transformers_answer_is_read_in_evaluation_too() -> None:
    class Output(dict[str, torch.Tensor]):
        pass

    class Wrapped(nn.Module):
        def forward(self, x: torch.Tensor) -> Output:
            return Output(loss=torch.zeros(()), logits=x.mean((2, 3)))

    network = Network(Wrapped())
    check_logits(network, 3, (8, 8), "network")
    assert network(torch.rand(2, 3, 8, 8)).shape == (2, 3)


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
    asked: list[str] = []

    def fetch(url: str, *_: object, **__: object) -> None:
        asked.append(url)
        raise OSError("no network here")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    words = ["network.factory=torchvision.models.resnet18", "network.args.weights=DEFAULT"]
    own = section(*words)
    names = [str(k) for k in range(1000)]
    with pytest.raises(UserError, match=r"network\.args: .* asks for https.*put it at .*hub"):
        build_network(own.model_copy(update={"run": "theirs"}), names, "network")
    assert asked == []
    with pytest.raises(UserError, match="no network here"):
        build_network(own, names, "network")
    assert len(asked) == 1


def test_a_head_may_be_several_layers() -> None:
    words = ["network=timm", "network.name=deit_tiny_distilled_patch16_224"]
    network = build(*words, "network.args={depth: 1}")
    core = network.core
    expected = {id(p) for p in (*core.head.parameters(), *core.head_dist.parameters())}  # type: ignore[operator, union-attr]
    assert {id(p) for p in head_of(network, "k").parameters()} == expected
