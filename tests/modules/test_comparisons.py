"""What compares two networks: divergences and hints of one's own, further metrics."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy, MulticlassRecall

from mixkd import Distillation, Mixing
from mixkd.data.batches import ordinary_batch
from mixkd.errors import UserError
from mixkd.modules.optimization import FixedSchedule
from mixkd.networks.network import FrozenTeacher
from mixkd.vicinal import VicinalBatch


def network(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.ReLU(), nn.Linear(width, 3))


def module(**options: Any) -> Distillation:
    return Distillation(network(4, 0), network(6, 1), **options)


def batch() -> VicinalBatch:
    images = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(2))
    labels = torch.tensor([0, 1, 2, 1, 0])
    return ordinary_batch(images, labels, Mixing("uniform"), seed=3, epoch=0, step=0)


def fit(learner: Distillation, epochs: int = 1) -> Trainer:
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    images = torch.rand(20, 3, 2, 2, generator=torch.Generator().manual_seed(2))
    loader = DataLoader(TensorDataset(images, torch.arange(20) % 3), batch_size=5)
    trainer.fit(learner, loader, loader)
    return trainer


def dkd(
    student: Tensor, teacher: Tensor, *, temperature: float, label: Tensor, alpha: float,
    beta: float,
) -> Tensor:  # fmt: skip
    """Decoupled knowledge distillation (Zhao et al. 2022), from its two parts."""
    is_target = F.one_hot(label, student.shape[1]).bool()
    p, q = (F.softmax(logits / temperature, dim=1) for logits in (student, teacher))

    def kl(of: Tensor, other: Tensor) -> Tensor:
        return (of * (of / other).log()).sum(dim=1).mean()

    binary_p, binary_q = (torch.stack([x[is_target], 1 - x[is_target]], dim=1) for x in (p, q))
    rest_p, rest_q = (x[~is_target].view(len(x), -1) / (1 - x[is_target])[:, None] for x in (p, q))
    return alpha * kl(binary_q, binary_p) + beta * kl(rest_q, rest_p)


def test_a_divergence_of_ones_own_with_two_arguments_by_hand() -> None:
    # Of classes 0, 1, 2 where 0 is the label: p_s = (2, 1, 1) / 4 and p_t = (6, 2, 1) / 9. Target
    # against the rest, and the rest among themselves, the teacher has 2/3 and 1/3, the student 1/2.
    student, teacher = (torch.tensor([x]).log() for x in ([2.0, 1.0, 1.0], [6.0, 2.0, 1.0]))
    part = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    learner = Distillation(
        Constant(student), Constant(teacher), temperature=1.0, alpha=0.5, beta=2.0,
        divergence=partial(dkd, alpha=3.0, beta=8.0),
    )  # fmt: skip
    label, images = torch.zeros(1, dtype=torch.int64), torch.zeros(1, 3, 2, 2)
    losses = learner.losses(ordinary_batch(images, label, None, seed=0, epoch=0, step=0))
    assert losses["kd"].item() == pytest.approx((3 + 8) * part, rel=1e-5)
    ce = math.log(2)
    assert losses["loss"].item() == pytest.approx(0.5 * ce + 2 * 11 * part, rel=1e-5)


class Constant(nn.Module):
    """Gives the same logits, [1, classes], whatever it sees."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, view: Tensor) -> Tensor:
        return self.logits


def test_t_squared_multiplies_a_divergence_of_ones_own() -> None:
    def squared(student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().mean()

    losses = module(divergence=squared, temperature=3.0, beta=0.5).losses(batch())
    assert torch.equal(losses["loss"], 0.0 * losses["ce"] + 0.5 * 9.0 * losses["kd"])
    plain = module(divergence=squared, temperature="sigma", beta=0.5).losses(batch())
    assert plain["loss"].item() == pytest.approx(0.5 * plain["kd"].item())


def named(*names: str) -> Any:
    """Return a divergence that takes some names, and what it was given by them."""
    given: dict[str, Any] = {}

    def both(student: Tensor, teacher: Tensor, **quantities: Any) -> Tensor:
        given.update(quantities)
        return student.mean()

    class Taking:
        def __call__(self, student: Tensor, teacher: Tensor, **quantities: Any) -> Tensor:
            return both(student, teacher, **quantities)

    every = ("temperature", "label", "partner", "lam", "index", "partner_index")
    functions: dict[tuple[str, ...], Any] = {
        (): lambda student, teacher: both(student, teacher),
        ("label",): lambda student, teacher, label: both(student, teacher, label=label),
        ("temperature", "lam"): lambda student, teacher, lam, temperature=1: both(
            student, teacher, temperature=temperature, lam=lam
        ),
        every: Taking(),
    }
    return functions[names], given


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("label",),
        ("temperature", "lam"),
        ("temperature", "label", "partner", "lam", "index", "partner_index"),
    ],
)
def test_a_divergence_is_given_what_its_signature_takes(names: tuple[str, ...]) -> None:
    divergence, given = named(*names)
    mixed = batch()
    module(divergence=divergence, temperature=5.0).losses(mixed)
    values = {"temperature": 5.0, "label": mixed.label, "partner": mixed.partner_label,
              "lam": mixed.lam, "index": mixed.index,
              "partner_index": mixed.partner_index}  # fmt: skip
    assert given == {name: values[name] for name in names}


def test_an_argument_that_is_bound_stays() -> None:
    divergence, given = named("temperature", "lam")
    module(divergence=partial(divergence, temperature=7.0), temperature=5.0).losses(batch())
    assert given["temperature"] == 7.0


class Softened(nn.Module):
    """A divergence that learns its temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, student: Tensor, teacher: Tensor, *, label: Tensor) -> Tensor:
        return F.cross_entropy(student * self.scale, label)


def test_the_parameters_of_a_divergence_learn_and_are_kept(tmp_path: Path) -> None:
    learner = module(divergence=Softened())
    fit(learner).save_checkpoint(tmp_path / "last.ckpt")
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert kept["divergence.scale"] != 1
    assert not any("teacher" in name for name in kept)


@pytest.mark.parametrize("value", [torch.zeros(5), torch.zeros(1), 0.5, None])
@pytest.mark.parametrize("key", ["divergence", "hint"])
def test_what_is_no_scalar_is_refused(key: str, value: Any) -> None:
    def constant(student: Tensor, teacher: Tensor) -> Any:
        return value

    got = f"Tensor of shape {list(value.shape)}" if torch.is_tensor(value) else type(value).__name__
    learner = module(**{key: constant})
    with pytest.raises(ValueError, match=f"{key}: constant gives a ") as caught:
        learner.losses(batch())
    assert f"gives a {got}; takes a scalar tensor" in str(caught.value)
    assert isinstance(caught.value, UserError)  # on the command line: a message, no traceback


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(()), "takes scalars by name"),
        ({"ce": torch.zeros(())}, "gives names ce; takes scalars by name"),
        ({"loss": torch.zeros(()), "ce": torch.zeros(3)}, r"as ce a Tensor of shape \[3\]"),
        ({"loss": torch.zeros(()), "ce": 1.0}, "as ce a float"),
    ],
)
def test_losses_are_scalars_by_name(given: Any, message: str) -> None:
    learner = module()
    learner.losses = lambda batch: given  # type: ignore[method-assign, assignment]
    with pytest.raises(ValueError, match=message):
        fit(learner)


def test_every_step_names_the_same_losses() -> None:
    class Changing(Distillation):
        def losses(self, batch: VicinalBatch) -> dict[str, Tensor]:
            losses = super().losses(batch)
            return losses | ({"late": losses["ce"]} if batch.step else {})

    with pytest.raises(ValueError, match="gives loss, ce, kd, late; takes the names"):
        fit(Changing(network(4, 0), network(6, 1)))


def test_parts_are_in_their_order_and_the_loss_is_first() -> None:
    class Ordered(Distillation):
        def losses(self, batch: VicinalBatch) -> dict[str, Tensor]:
            losses = super().losses(batch)
            return {"zebra": losses["ce"], "ant": losses["kd"], "loss": losses["loss"]}

    learner = Ordered(network(4, 0), network(6, 1))
    fit(learner)
    names = [name for name in learner.values if name.startswith("train/")]
    assert names == ["train/loss", "train/zebra", "train/ant"]


def test_a_hint_sees_the_features_before_the_last_layers() -> None:
    seen: list[Tensor] = []

    def hint(student: Tensor, teacher: Tensor, *, label: Tensor) -> Tensor:
        seen.extend([student, teacher, label])
        return student.mean()

    learner, mixed = module(hint=hint, hint_weight=3.0), batch()
    losses = learner.losses(mixed)
    student, teacher = learner.network, learner.teacher.network
    for features, whole in zip(seen, (student, teacher), strict=False):
        assert torch.equal(features, whole[:3](mixed.mixed))  # type: ignore[index]
    assert torch.equal(seen[2], mixed.label)
    assert seen[0].requires_grad
    assert not seen[1].requires_grad
    without = module().losses(mixed)
    assert torch.equal(losses["loss"], without["loss"] + 3.0 * losses["hint"])
    assert list(losses) == ["loss", "ce", "kd", "hint"]


def test_features_are_float32_whatever_the_teacher_computes_in() -> None:
    dtypes = []

    def hint(student: Tensor, teacher: Tensor) -> Tensor:
        dtypes.extend([student.dtype, teacher.dtype])
        return (student.mean() - teacher.mean()).square()

    learner = Distillation(network(4, 0), FrozenTeacher(network(6, 1), "bf16"), hint=hint)
    with torch.autocast("cpu", torch.bfloat16):
        learner.losses(batch())["loss"].backward()
    assert dtypes == [torch.float32, torch.float32]


def test_a_network_that_classifies_by_a_convolution_has_features() -> None:
    convolutional = nn.Sequential(
        nn.Conv2d(3, 7, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(7, 3, 1), nn.Flatten()
    )
    shapes = []

    def hint(student: Tensor, teacher: Tensor) -> Tensor:
        shapes.append((student.shape, teacher.shape))
        return student.mean()

    Distillation(convolutional, network(6, 1), hint=hint).losses(batch())
    assert shapes == [((5, 7), (5, 6))]


class Sidestepping(nn.Module):
    """Has a linear layer that it does not ask."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.weight = nn.Linear(12, 3), nn.Parameter(torch.zeros(12, 3))

    def forward(self, view: Tensor) -> Tensor:
        return view.flatten(1) @ self.weight


def test_a_network_without_a_last_layer_has_no_hint() -> None:
    learner = Distillation(Sidestepping(), network(6, 1), hint=lambda s, t: s.mean())
    with pytest.raises(ValueError, match="hint: the network does not give its logits by Linear"):
        learner.losses(batch())
    with pytest.raises(UserError, match="hint: the network has no linear layer"):
        Distillation(Constant(torch.zeros(1, 3)), network(6, 1), hint=lambda s, t: s.mean())


def test_metrics_of_ones_own_are_logged_by_their_names() -> None:
    metrics = {
        "top2": MulticlassAccuracy(3, top_k=2, average="micro"),
        "recall": Apart(3),
    }
    learner = module(metrics=metrics)
    logged = fit(learner, epochs=2).callback_metrics
    assert 0 <= learner.values["val/top2"] <= 1
    assert logged["val/top2"].item() == pytest.approx(learner.values["val/top2"])
    assert {f"val/recall_{name}" for name in "abc"} <= learner.values.keys()
    assert metrics["top2"].tp.sum() == 0  # type: ignore[union-attr, operator]
    assert {id(p) for p in learner.learning()} == {id(p) for p in learner.network.parameters()}


class Apart(MulticlassRecall):
    """The recall of each class, by its name."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes, average="none")
        self.parameter = nn.Parameter(torch.zeros(()))  # which nothing learns

    def update(self, preds: Tensor, target: Tensor) -> None:
        assert preds.dtype == torch.float32
        assert target.dtype == torch.int64
        super().update(preds, target)

    def compute(self) -> Any:
        return dict(zip("abc", super().compute(), strict=True))


def test_a_metric_that_gives_no_number_is_named() -> None:
    with pytest.raises(UserError, match=r"metrics.recall: .* \[3\]; takes a number"):
        fit(module(metrics={"recall": MulticlassRecall(3, average="none")}))


def test_several_base_rates_keep_their_proportions() -> None:
    def optimizer(parameters: Any) -> torch.optim.Optimizer:
        first, *others = parameters
        return torch.optim.SGD([{"params": [first], "lr": 0.25}, {"params": others}], lr=0.5)

    learner = module(optimizer=optimizer, schedule=FixedSchedule([0.5, 0.3]))
    trainer = fit(learner, epochs=2)
    assert [group["lr"] for group in trainer.optimizers[0].param_groups] == [0.15, 0.3]
    assert learner.values["lr"] == 0.3


@pytest.mark.parametrize(
    "options",
    [{"schedule_by": "batch"}, {"clip_norm": 0.0}, {"ema": 1.0}, {"temperature": 0},
     {"alpha": -1.0}, {"hint_weight": math.nan}, {"divergence": "kll"}],
)  # fmt: skip
def test_what_an_option_does_not_take_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="takes "):
        module(**options)
