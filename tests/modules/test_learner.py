"""Clipping, the moving average and precision, against steps taken by hand."""

from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from mixkd.config.data import DataConfig
from mixkd.data.images import Images
from mixkd.data.module import ImageDataModule
from mixkd.data.splits import Splits
from mixkd.losses.distillation import Losses
from mixkd.modules.distillation import Distillation
from mixkd.modules.learner import in_format_of
from mixkd.modules.optimization import FixedSchedule
from mixkd.modules.supervised import Supervised
from mixkd.networks.network import FrozenTeacher, Network
from mixkd.vicinal import Mixing, VicinalBatch, VicinalStream

SGD = partial(torch.optim.SGD, lr=0.0)


def network() -> Network:
    torch.manual_seed(1)
    return Network(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Linear(12, 3)))


def images(n: int, seed: int) -> Images:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, 3, 2, 2), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.arange(n) % 3, torch.arange(n))


def fit(module: Any, precision: Any = "32-true", epochs: int = 2) -> Trainer:
    splits = Splits(images(20, 0), images(7, 1), images(11, 2), ("a", "b", "c"))
    cfg = DataConfig.model_construct(
        batch_size=4, eval_batch_size=3, pad=0, flip=True, size=None, resize=None
    )
    stream = VicinalStream(20, 4, 5, Mixing("uniform"), slack=0, flip=True)
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        precision=precision,
    )  # fmt: skip
    trainer.fit(module, ImageDataModule(splits, cfg, stream))
    return trainer


def supervised(**options: Any) -> Supervised:
    rates = FixedSchedule([0.5, 0.2])
    return Supervised(network(), optimizer=SGD, schedule=rates, seed=3, **options)


class StateRecorder(Supervised):
    """Keeps the network's state after every step."""

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        state = self.network.state_dict()
        self.states = [*getattr(self, "states", []), {k: v.clone() for k, v in state.items()}]


def test_the_moving_average_is_measured_and_kept() -> None:
    rates = FixedSchedule([0.5, 0.2])
    module = StateRecorder(network(), optimizer=SGD, schedule=rates, ema=0.8, seed=3)
    fit(module)
    assert len(module.states) == 10
    expected = module.states[0]
    for state in module.states[1:]:
        expected = {
            name: (0.8 * value + 0.2 * state[name]).to(value.dtype)
            for name, value in expected.items()
        }
    average = module.outcome.state_dict()
    assert module.outcome is not module.network
    for name, value in expected.items():
        torch.testing.assert_close(average[name], value, atol=1e-6, rtol=1e-5)
    view = torch.rand(5, 3, 2, 2)
    assert torch.equal(module.eval()(view), module.outcome(view))
    assert not torch.equal(module.train()(view), module.outcome(view))
    assert not module.outcome.training
    assert not any(p.requires_grad for p in module.outcome.parameters())


def test_without_an_average_the_network_itself_is_the_outcome() -> None:
    module = supervised()
    assert module.outcome is module.network
    assert all(name.startswith("network.") for name in module.state_dict())


def test_gradients_are_clipped_to_the_norm() -> None:
    unclipped, clipped = (
        StateRecorder(
            network(), optimizer=SGD, schedule=FixedSchedule([1.0]), clip_norm=norm, seed=3
        )
        for norm in (None, 1e-3)
    )
    steps = []
    for module in (unclipped, clipped):
        before = torch.nn.utils.parameters_to_vector(module.network.parameters()).detach().clone()
        fit(module, epochs=1)
        after = [module.states[0][n] for n, _ in module.network.named_parameters()]
        steps.append((torch.cat([p.flatten() for p in after]) - before).double())
    assert steps[0].norm() > 0.1
    assert steps[1].norm().item() == pytest.approx(1e-3, rel=1e-3)
    cosine = torch.dot(steps[0], steps[1]) / (steps[0].norm() * steps[1].norm())
    assert cosine.item() == pytest.approx(1, abs=1e-3)  # shortened, not turned


@pytest.mark.parametrize("fused", [False, True])
def test_clipping_works_under_bf16_with_a_fused_optimizer(fused: bool) -> None:
    adam = partial(torch.optim.Adam, lr=0.0, fused=fused)
    rates = FixedSchedule([0.5, 0.2])
    module = Supervised(network(), optimizer=adam, schedule=rates, clip_norm=1.0, seed=3)
    fit(module, "bf16-mixed")


class DtypeRecorder(Distillation):
    """Keeps the dtypes of what a step works with."""

    def forward(self, view: Tensor) -> Tensor:
        logits = super().forward(view)
        if self.training:
            self.student_dtype = logits.dtype
        return logits

    def losses(self, batch: VicinalBatch) -> Losses:
        losses = super().losses(batch)
        self.dtypes = {loss.dtype for loss in losses.values()}
        self.answers = self.teacher(batch.mixed), batch.mixed
        return losses


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_under_bf16_losses_are_float32_and_the_teacher_has_its_own_precision(
    precision: Any,
) -> None:
    teacher = network()
    module = DtypeRecorder(
        network(), FrozenTeacher(teacher, precision), temperature=2.0, alpha=0.5,
        optimizer=SGD, schedule=FixedSchedule([0.1]),
    )  # fmt: skip
    fit(module, "bf16-mixed", epochs=1)
    assert module.student_dtype == torch.bfloat16
    assert module.dtypes == {torch.float32}
    answers, mixed = module.answers
    assert answers.dtype == torch.float32
    with torch.no_grad():
        exact = teacher(mixed)
    assert torch.equal(answers, exact) == (precision == "float32")
    torch.testing.assert_close(answers, exact, atol=0.05, rtol=0.02)
    # Metrics are of the student's bfloat16 logits, but computed in float64.
    assert module.validation.hits.dtype == torch.float64


@pytest.mark.parametrize(
    "optimizer_class", [torch.optim.AdamW, partial(torch.optim.SGD, momentum=0.9)]
)
@pytest.mark.parametrize("first_format", [torch.contiguous_format, torch.channels_last])
def test_a_run_goes_on_in_another_memory_format(
    optimizer_class: Any, first_format: torch.memory_format
) -> None:
    """Fused optimizers would take momentum for other weights than it is of."""
    other_format = {torch.contiguous_format: torch.channels_last}.get(
        first_format, torch.contiguous_format
    )

    def step(core: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        optimizer.zero_grad()
        view = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
        core(view).square().sum().backward()
        optimizer.step()

    def trained(fused: bool, change: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        core = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3))
        core.to(memory_format=first_format)
        optimizer = optimizer_class(core.parameters(), lr=0.001, fused=fused)
        for seed in range(3):
            step(core, optimizer, seed)
        if change:
            state = optimizer.state_dict()
            core.to(memory_format=other_format)
            optimizer = optimizer_class(core.parameters(), lr=0.001, fused=fused)
            optimizer.load_state_dict(state)
            in_format_of(optimizer)
        step(core, optimizer, 3)
        return [p.detach() for p in core.parameters()]

    for weights, expected in zip(trained(True, True), trained(False, False), strict=True):
        torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-5)
