"""The 22 networks of RepDistiller against what its own code gives.

published.json was made with HobbitLong/RepDistiller, models/, at commit b84f547c, in float64 on the
CPU, with tensors and images as `fill` and IMAGES have them and 100 classes. It holds the logits of
classes 0, 50 and 99 in eval and in train mode; shapes and norms of the features of every stage and
of what the classifier is given; norms of the gradients of the first and the last parameter.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from building import build, trainable
from torch import Tensor, nn
from torch.testing import assert_close

from mixkd.errors import UserError
from mixkd.networks.cifar.resnet import CifarResNet, DistillerResNet
from mixkd.networks.cifar.resnet9 import ResNet9
from mixkd.networks.features import last_layer

PUBLISHED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("published.json").read_text()
)
IMAGES = torch.sin(0.01 * torch.arange(6144, dtype=torch.float64)).reshape(2, 3, 32, 32)
SHOWN = [0, 50, 99]  # classes


def fill(core: nn.Module, gain: float) -> None:
    """Give every tensor values that depend on its place among the others alone."""
    norms = {n for n, module in core.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for place, (name, tensor) in enumerate(core.state_dict().items()):
        index = torch.arange(tensor.numel())
        whole = (381967 * index * index + 618034 * index + 271829 * place) % 1000003
        u = (2 * whole.double() / 1000003 - 1).reshape(tensor.shape)
        module, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            u = torch.zeros_like(u)
        elif kind == "running_var":
            u = 1 + 0.5 * u.abs()
        elif kind == "weight" and module in norms:
            u = 1 + 0.1 * u
        elif tensor.dim() >= 2:
            u = gain * u * math.sqrt(6 * len(tensor) / tensor.numel())
        else:
            u = 0.1 * u
        tensor.copy_(u)


def answer(core: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the logits, and the features of the stages and of the classifier's input, in order."""
    stages = [core.get_submodule(stage["module"]) for stage in core.feature_info]
    seen: dict[nn.Module, Tensor] = {}
    classifier = last_layer(core, "")
    hooks = [stage.register_forward_hook(lambda m, x, y: seen.update({m: y})) for stage in stages]
    hooks.append(classifier.register_forward_pre_hook(lambda m, x: seen.update({m: x[0]})))
    logits = core(images)
    for hook in hooks:
        hook.remove()
    return logits, [seen[module] for module in (*stages, classifier)]


def near(actual: Tensor, expected: Any) -> None:
    assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_shapes_logits_features_and_gradients_are_the_published_ones(name: str) -> None:
    published = PUBLISHED[name]
    core = build(f"network={name}", classes=100).core.double().eval()
    lines = [f"{n} {'x'.join(map(str, v.shape))}" for n, v in core.state_dict().items()]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == published["sha256"]
    assert trainable(core) == published["parameters"]

    fill(core, published["gain"])
    logits, maps = answer(core, IMAGES)
    near(logits[:, SHOWN], published["eval"])
    assert [list(features.shape) for features in maps] == [s for s, _ in published["features"]]
    for features, (_, norms) in zip(maps, published["features"], strict=True):
        near(features.flatten(1).norm(dim=1), norms)

    parameters = list(core.parameters())
    # In a backward pass as well: nothing works in place on a stage's features.
    weighted = (logits.flatten() * torch.arange(200, dtype=torch.float64).cos()).sum()
    gradients = torch.autograd.grad(weighted, [parameters[0], parameters[-1]])
    near(torch.stack([g.norm() for g in gradients]), published["gradients"])

    with torch.no_grad():
        near(core.train()(IMAGES)[:, SHOWN], published["train"])


def public(core: nn.Module) -> dict[str, Any]:
    """Return a checkpoint of a teacher in the form of the public ckpt_epoch_240.pth."""
    optimizer = torch.optim.SGD(core.parameters(), lr=0.05, momentum=0.9)
    return {
        "epoch": 240,
        "model": core.state_dict(),
        "accuracy": torch.tensor(72.34),
        "optimizer": optimizer.state_dict(),
    }


@pytest.mark.parametrize("name", ["crd_resnet56", "wrn_40_1", "shufflenet_v2", "mobilenetv2_half"])
def test_a_checkpoint_of_the_published_form_loads_strictly(tmp_path: Path, name: str) -> None:
    source = build(f"network={name}", classes=100).core
    torch.save(public(source), tmp_path / "ckpt_epoch_240.pth")
    weights = f"network.weights={tmp_path}/ckpt_epoch_240.pth"
    loaded = build(f"network={name}", weights, classes=100).core.state_dict()
    assert all(torch.equal(loaded[n], value) for n, value in source.state_dict().items())
    with pytest.raises(UserError, match="was trained on 100 classes; the data has 10"):
        build(f"network={name}", weights, classes=10)


def test_a_checkpoint_given_to_another_network_says_which_is_its_own(tmp_path: Path) -> None:
    core = build("network=crd_resnet56", classes=100).core
    torch.save(public(core), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"adds fc.*; it fits network=crd_resnet56$"):
        build("network=resnet56", f"network.weights={tmp_path}/w.pth", classes=100)
    with pytest.raises(UserError, match=r"and adds [^;]*$"):
        build("network=resnet56", f"network.weights={tmp_path}/w.pth", classes=10)


def test_normalisation_is_that_of_cifar100() -> None:
    network = build("network=wrn_40_2", classes=100)
    assert network.mean.flatten().tolist() == pytest.approx([0.5071, 0.4867, 0.4408])
    assert network.std.flatten().tolist() == pytest.approx([0.2675, 0.2565, 0.2761])


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "mobilenetv2_half", "shufflenet_v1"])
@pytest.mark.parametrize("size", [16, 64])
def test_images_of_other_sizes(name: str, size: int) -> None:
    core = build(f"network={name}").core.eval()
    with torch.no_grad():
        logits, (*maps, _) = answer(core, torch.rand(2, 3, size, size))
    assert logits.shape == (2, 10)
    assert (
        maps[-1].shape[-1]
        == {
            "resnet8": size // 4,
            "vgg8": min(size, 32) // 8,  # it pools once more of 64 pixels
            "mobilenetv2_half": size // 16,
            "shufflenet_v1": size // 8,
        }[name]
    )


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("resnet8", "depth=9", r"depth 9 is not 6n \+ 2 \(20, 32, 44, 56, 110\)"),
        ("resnet8x4", "channels=[16,32,64]", "not enough values"),
        ("wrn_16_1", "depth=18", r"depth 18 is not 6n \+ 4 \(16, 22, 28, 40\)"),
        ("vgg8", "depth=12", "depth 12 is none of 8, 11, 13, 16, 19"),
    ],
)
def test_other_depths_and_channels_are_refused(name: str, wrong: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"network.args: {name} does not take .*{message}"):
        build(f"network={name}", f"network.args.{wrong}")


@pytest.mark.parametrize("name", ["resnet8x4", "resnet50_cifar", "wrn_16_2", "vgg8"])
def test_convolutions_are_drawn_by_their_outputs(name: str) -> None:
    drawn = []
    for module in build(f"network={name}").core.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None or not module.bias.any()
            outputs = module.out_channels * math.prod(module.kernel_size)
            drawn.append(module.weight.detach().flatten() * math.sqrt(outputs / 2))
    assert torch.cat(drawn).std().item() == pytest.approx(1, abs=0.02)
    assert all(abs(values.std().item() - 1) < 0.2 for values in drawn)


@pytest.mark.parametrize(
    "core",
    [CifarResNet(8, 10), DistillerResNet(8, 10), ResNet9(10, 0.125)],
    ids=lambda c: type(c).__name__,
)
def test_other_cifar_networks_name_their_stages(core: nn.Module) -> None:
    with torch.no_grad():
        _, (*maps, pooled) = answer(core.double().eval(), IMAGES)
    assert [features.shape[-1] for features in maps] == [
        size // (2 if isinstance(core, ResNet9) else 1) for size in (32, 16, 8)
    ]
    assert all((features >= 0).all() for features in maps)  # after the ReLU
    last = maps[-1]
    if isinstance(core, ResNet9):
        expected = last.amax((2, 3))
    elif isinstance(core, DistillerResNet):  # of 2x2 quarters
        expected = last.unflatten(3, (2, 4)).unflatten(2, (2, 4)).mean((3, 5)).flatten(1)
    else:
        expected = last.mean((2, 3))
    assert_close(pooled, expected)
