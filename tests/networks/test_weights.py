from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from building import build
from torch import nn

from mixkd.errors import UserError
from mixkd.networks.cifar.resnet import CifarResNet
from mixkd.networks.weights import load_weights, read_tensors, save_weights

NAMES = [f"class{k}" for k in range(10)]


def test_pretrained_weights_come_from_a_file_with_a_new_head(tmp_path: Path) -> None:
    source = timm.create_model("resnet10t", num_classes=1000)
    torch.save(source.state_dict(), tmp_path / "resnet10t.pth")
    network = build("network=resnet10t", f"network.pretrained={tmp_path}/resnet10t.pth")
    assert network.input_size == 176  # what timm trained these weights on
    loaded, published = network.core.state_dict(), source.state_dict()
    head = {"fc.weight", "fc.bias"}
    assert all(torch.equal(loaded[name], published[name]) for name in loaded.keys() - head)
    assert loaded["fc.weight"].shape == (10, 512)


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
    loaded = network.core.state_dict()
    names = [n for n in state if not n.startswith("classifier")]
    assert len(names) > 200
    assert all(torch.equal(loaded[n], state[n]) for n in names)


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
