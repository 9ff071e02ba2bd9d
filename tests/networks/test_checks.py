import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mixkd.errors import UserError
from mixkd.networks.checks import check_training
from mixkd.networks.network import Network


class TwoHeads(nn.Module):
    """Two linear heads over mean colours; `kind` is the form in which their logits are returned."""

    def __init__(self, num_classes: int, kind: str) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, num_classes), nn.Linear(3, num_classes)
        self.norm, self.drop, self.kind = nn.BatchNorm1d(3), nn.Dropout(0.5), kind

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


def answering(kind: str) -> Network:
    return Network(TwoHeads(10, kind))


@pytest.mark.parametrize("kind", ["tuple", "dict"])
def test_auxiliary_logits_are_left_and_named(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    network = answering(kind)
    check_training(network, 10, (8, 8), "network", 16)
    messages = capsys.readouterr().err
    assert f"network: returns a {kind} of {2 if kind == 'tuple' else 3} while it trains" in messages
    # They depend on `a` alone: what `b` holds stays as it is.
    assert network.unreached == ["b.weight", "b.bias"]
    assert "b.weight, b.bias learn nothing" in messages
    view = torch.rand(4, 3, 8, 8)
    torch.manual_seed(3)
    logits = network.train()(view)
    torch.manual_seed(3)
    returned = network.core.train()((view - network.mean) / network.std)
    assert torch.equal(logits, returned[0] if kind == "tuple" else returned["logits"])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("features first", r"gives torch.float32 \(2, 3, 8, 8\) for two images while it trains"),
        ("fails", r"fails in training on 16 images of 8x8: KeyError: 'target'"),
        ("in place", r"fails in training on 16 images of 8x8: RuntimeError: .*inplace"),
        ("detached", r"gives logits that depend on no parameter that learns"),
    ],
)
def test_a_network_that_cannot_train_is_refused_before_it_does(kind: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^network: {message}"):
        check_training(answering(kind), 10, (8, 8), "network", 16)


def test_a_frozen_network_is_refused() -> None:
    network = answering("plain")
    network.core.requires_grad_(False)
    with pytest.raises(UserError, match=r"^student: has no parameter that learns"):
        check_training(network, 10, (8, 8), "student", 16)


def test_a_network_may_take_whole_batches_alone() -> None:
    check_training(answering("needs four"), 10, (8, 8), "network", 16)
    with pytest.raises(UserError, match=r"on 6 images of 8x8: ValueError: takes fours"):
        check_training(answering("needs four"), 10, (8, 8), "network", 6)


@pytest.mark.parametrize("kind", ["plain", "fails"])
def test_checks_leave_a_network_and_random_states_as_they_were(kind: str) -> None:
    network = answering(kind)
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
