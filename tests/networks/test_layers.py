"""Layers of networks by path and by word, and what they gave."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from mixkd.errors import UserError
from mixkd.networks.cifar.resnet import CifarResNet
from mixkd.networks.cifar.resnet9 import ResNet9
from mixkd.networks.features import WORDS, Features, feature_shapes, layer_paths
from mixkd.networks.network import Network


def shapes(network: nn.Module, *layers: str, size: int = 32) -> list[tuple[int, ...]]:
    features = Features(network, layer_paths(network, layers, "hint"), "hint")
    return feature_shapes(network, features, (size, size))


class Torchvision(nn.Module):
    """Tells its stages by their names alone, as torchvision's ResNets do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.layer1 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.layer2 = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.layer10 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.fc = nn.Linear(16, 5)

    def forward(self, view: Tensor) -> Tensor:
        maps = self.layer10(self.layer2(self.layer1(self.conv1(view))))
        return self.fc(maps.mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "size", "stages", "penultimate"),
    [
        (lambda: CifarResNet(8, 5), 32, [(16, 32, 32), (32, 16, 16), (64, 8, 8)], 64),
        (
            lambda: Network(CifarResNet(8, 5), [0.5] * 3, [0.5] * 3), 32,
            [(16, 32, 32), (32, 16, 16), (64, 8, 8)], 64,
        ),
        (lambda: ResNet9(5, 0.125), 32, [(16, 16, 16), (32, 8, 8), (64, 4, 4)], 64),
        (Torchvision, 32, [(4, 32, 32), (8, 16, 16), (16, 8, 8)], 16),
        (
            lambda: timm.create_model("mobilenetv2_035", num_classes=5), 32,
            [(8, 16, 16), (8, 8, 8), (16, 4, 4), (32, 2, 2), (112, 1, 1)], 1280,
        ),
        (
            lambda: timm.create_model("convnext_atto", num_classes=5), 32,
            [(40, 8, 8), (80, 4, 4), (160, 2, 2), (320, 1, 1)], 320,
        ),
        (
            lambda: timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32), 32,
            12 * [(192, 2, 2)], 192,
        ),
        (
            lambda: timm.create_model(
                "swin_tiny_patch4_window7_224", num_classes=5, img_size=32, window_size=2,
                embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1),
            ), 32,
            [(24, 8, 8), (48, 4, 4), (96, 2, 2), (192, 1, 1)], 192,
        ),
    ],
    ids=["resnet20", "within", "resnet9", "torchvision", "mobilenetv2", "convnext", "vit", "swin"],
)  # fmt: skip
def test_words_stand_for_layers_of_any_network(
    make: Any, size: int, stages: list[tuple[int, ...]], penultimate: int
) -> None:
    """Tokens and channels that come last are maps."""
    network = make().train()
    assert shapes(network, "stages", size=size) == stages
    assert shapes(network, "last_stage", size=size) == stages[-1:]
    assert shapes(network, "middle_stage", size=size) == [stages[len(stages) // 2]]
    assert shapes(network, "penultimate", "last_stage") == [(penultimate,), stages[-1]]
    assert network.training


def test_a_path_is_of_the_network_within_its_normalisation() -> None:
    network = Network(CifarResNet(8, 5), [0.5] * 3, [0.5] * 3)
    names = [name for name, _ in network.core.named_children()]
    assert names
    paths = layer_paths(network, [names[0]], "hint")
    features = Features(network, paths, "hint")
    view = torch.rand(2, 3, 16, 16)
    network(view)
    (taken,) = features.taken()
    with pytest.raises(ValueError, match=f"hint: the network does not use {names[0]}"):
        features.taken()  # they are taken once
    whole = dict(network.core.named_children())[names[0]]((view - 0.5) / 0.5)
    torch.testing.assert_close(taken, whole)


def test_tokens_keep_their_places() -> None:
    class Tokens(nn.Module):
        num_prefix_tokens = 1

        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.linear = nn.Identity(), nn.Linear(3, 5)

        def forward(self, view: Tensor) -> Tensor:
            patches = view.flatten(2).mT
            tokens = self.tokens(torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1))
            return self.linear(tokens[:, 0])  # type: ignore[no-any-return]

    network, view = Tokens(), torch.rand(2, 3, 4, 4)
    features = Features(network, ["tokens"], "hint")
    network(view)
    assert torch.equal(features.taken()[0], view)
    network(view[:, :, :3])  # which are not square
    assert torch.equal(features.taken()[0], view[:, :, :3].flatten(2)[..., None])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["layr2"], r"got 'layr2'; the network has no such module \(did you mean layer2\?\)"),
        (["layer3"], r"takes paths such as conv1, layer1, .*, or stages, last_stage, middle_st"),
        (["pentultimate"], r"did you mean penultimate\?"),
        (["layer1.weight"], "got 'layer1.weight'; the network has no such module"),
    ],
)
def test_layers_that_are_not_there_are_told(layers: list[str], message: str) -> None:
    with pytest.raises(UserError, match=f"hint.student_layers: .*{message}"):
        layer_paths(Torchvision(), layers, "hint.student_layers")


def test_a_network_without_stages_takes_paths() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    with pytest.raises(UserError, match=r"does not tell its stages.*; takes paths of modules, wit"):
        layer_paths(network, ["last_stage"], "hint.student_layers")
    assert WORDS == ("stages", "last_stage", "middle_stage", "penultimate")


def convolutional(*after: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), *after, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, 5))  # fmt: skip


def test_what_is_overwritten_in_place_is_refused() -> None:
    network = convolutional(nn.ReLU(inplace=True))
    features = Features(network, ["0"], "hint")
    network(torch.rand(2, 3, 8, 8))
    with pytest.raises(
        ValueError, match="what 0 gives is overwritten by the layer after it; takes"
    ):
        features.taken()
    for after, path in ((nn.ReLU(inplace=True), "1"), (nn.ReLU(), "0")):
        network = convolutional(after)
        features = Features(network, [path], "hint")
        network(torch.rand(2, 3, 8, 8))
        assert features.taken()[0].shape == (2, 4, 6, 6)


def test_a_layer_that_gives_no_tensor_is_refused() -> None:
    class Pair(nn.Module):
        def forward(self, view: Tensor) -> tuple[Tensor, Tensor]:
            return view, view

    class First(nn.Module):
        def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
            return pair[0]

    network = convolutional(Pair(), First())
    Features(network, ["1"], "hint")
    with pytest.raises(ValueError, match="hint: 1 gives tuple; takes a layer that gives a tensor"):
        network(torch.rand(2, 3, 8, 8))
