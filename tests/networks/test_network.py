import torch
from building import build
from torch import nn

from mixkd.networks.checks import check_logits
from mixkd.networks.network import FrozenTeacher, Network, head_of


def test_a_network_normalises_and_resizes_for_itself() -> None:
    network = Network(nn.Identity(), [0.5, 0.25, 0.0], [0.5, 0.25, 2.0], input_size=4)
    view = torch.ones(1, 3, 9, 9)
    normalised = network(view)
    assert normalised.shape == (1, 3, 4, 4)
    torch.testing.assert_close(normalised[0, :, 0, 0], torch.tensor([1.0, 3.0, 0.5]))


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


def test_a_transformers_answer_is_read_in_evaluation_too() -> None:
    class Output(dict[str, torch.Tensor]):
        pass

    class Wrapped(nn.Module):
        def forward(self, x: torch.Tensor) -> Output:
            return Output(loss=torch.zeros(()), logits=x.mean((2, 3)))

    network = Network(Wrapped())
    check_logits(network, 3, (8, 8), "network")
    assert network(torch.rand(2, 3, 8, 8)).shape == (2, 3)


def test_a_head_may_be_several_layers() -> None:
    overrides = ["network=timm", "network.name=deit_tiny_distilled_patch16_224"]
    network = build(*overrides, "network.args={depth: 1}")
    core = network.core
    expected = {id(p) for p in (*core.head.parameters(), *core.head_dist.parameters())}  # type: ignore[operator, union-attr]
    assert {id(p) for p in head_of(network, "k").parameters()} == expected
