"""The modules under a real Trainer, on a network small enough to check by hand."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from mixkd.config.data import DataConfig
from mixkd.data.batches import vicinal_batch
from mixkd.data.images import Images
from mixkd.data.module import ImageDataModule, Step
from mixkd.data.splits import Splits
from mixkd.data.views import Views
from mixkd.evaluation.calibration import measure_split
from mixkd.losses.distillation import distillation_kl
from mixkd.modules.distillation import Distillation
from mixkd.modules.optimization import (
    FixedSchedule,
    PlateauSchedule,
    Schedule,
    SteppedSchedule,
)
from mixkd.modules.supervised import Supervised
from mixkd.networks.network import Network
from mixkd.vicinal import Mixing, VicinalBatch, VicinalStream

SGD = partial(torch.optim.SGD, lr=0.0)
VIEWS = Views((2, 2), resize=None, size=None, pad=1)


def core(dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.BatchNorm1d(12), nn.Linear(12, 3))


def images(n: int, seed: int) -> Images:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, 3, 2, 2), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.arange(n) % 3, torch.arange(n))


def data(mixing: Mixing | None) -> ImageDataModule:
    splits = Splits(images(20, 0), images(7, 1), images(11, 2), ("a", "b", "c"))
    cfg = DataConfig.model_construct(
        batch_size=4, eval_batch_size=3, pad=1, flip=True, size=None, resize=None
    )
    return ImageDataModule(splits, cfg, VicinalStream(20, 4, 5, mixing, slack=2, flip=True))


def trainer(epochs: int = 2, **kwargs: Any) -> Trainer:
    return Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, **kwargs,
    )  # fmt: skip


def distillation(teacher: Network, student: Network, **kwargs: Any) -> Distillation:
    rates = FixedSchedule([0.1, 0.05, 0.02])
    return Distillation(student, teacher, optimizer=SGD, schedule=rates, **kwargs)


def supervised(network: Network, schedule: Schedule) -> Supervised:
    sgd = partial(torch.optim.SGD, lr=0.0, momentum=0.9)
    return Supervised(network, optimizer=sgd, schedule=schedule, seed=3)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_a_fit_leaves_the_teacher_as_it_was_and_out_of_everything() -> None:
    teacher, student = Network(core(0.5)), Network(core())
    teacher_before, student_before = state(teacher), state(student)
    module = distillation(teacher, student)
    fit = trainer()
    fit.fit(module, data(Mixing("uniform")))
    assert equal(state(teacher), teacher_before)
    assert not equal(state(student), student_before)
    assert not teacher.training
    teacher_parameters = {id(p) for p in teacher.parameters()}
    assert not teacher_parameters & {
        id(p) for g in fit.optimizers[0].param_groups for p in g["params"]
    }
    assert not teacher_parameters & {id(p) for p in module.parameters()}
    assert set(module.state_dict()) == {f"network.{name}" for name in student.state_dict()}


def test_teacher_and_student_see_the_same_mixed_tensor() -> None:
    inputs: dict[str, list[Tensor]] = {"teacher": [], "student": []}
    teacher, student = Network(core()), Network(core())
    for name, network in (("teacher", teacher), ("student", student)):
        network.register_forward_pre_hook(
            lambda _, x, name=name: inputs[name].append(x[0].clone()) if len(x[0]) == 4 else None
        )
    module = distillation(teacher, student)
    module.network.eval()
    trainer(1).fit(module, data(Mixing("uniform")))
    assert len(inputs["teacher"]) == 5
    assert all(torch.equal(a, b) for a, b in zip(*inputs.values(), strict=True))


def test_the_loss_of_a_batch_is_the_formula() -> None:
    teacher, student = Network(core().eval()), Network(core())
    module = distillation(teacher, student, alpha=0.3, beta=0.7).eval()
    datamodule = data(Mixing("uniform"))
    recorded = {}

    original = module.losses

    def recording_losses(batch: Any) -> Any:
        losses = original(batch)
        if not recorded:
            recorded.update(batch=batch, losses=losses)
            z_s, z_t = student(batch.mixed).detach(), teacher(batch.mixed)
            recorded["kd"] = distillation_kl(z_s, z_t, 2.0)
            p = z_s.log_softmax(dim=1)
            rows = torch.arange(4)
            ce = -(
                batch.lam * p[rows, batch.label] + (1 - batch.lam) * p[rows, batch.partner_label]
            )
            recorded["ce"] = ce.mean()
        return losses

    module.losses = recording_losses  # type: ignore[method-assign]
    module.on_train_start = lambda: module.eval()  # type: ignore[method-assign, assignment]
    trainer(1).fit(module, datamodule)
    losses = recorded["losses"]
    torch.testing.assert_close(losses["kd"].detach(), recorded["kd"])
    torch.testing.assert_close(losses["ce"].detach(), recorded["ce"])
    expected = 0.3 * recorded["ce"] + 0.7 * 4 * recorded["kd"]
    torch.testing.assert_close(losses["loss"].detach(), expected)


def test_epoch_means_rates_and_values_are_logged() -> None:
    module = supervised(Network(core()), FixedSchedule([0.1, 0.05]))
    steps: list[float] = []
    original = module.training_step

    def recording_step(batch: VicinalBatch, batch_idx: int) -> Tensor:
        loss = original(batch, batch_idx)
        steps.append(loss.item())
        return loss

    module.training_step = recording_step  # type: ignore[method-assign]
    fit = trainer()
    fit.fit(module, data(None))
    assert module.values["train/loss"] == pytest.approx(sum(steps[5:]) / 5, rel=1e-6)
    assert fit.optimizers[0].param_groups[0]["lr"] == 0.05
    assert fit.callback_metrics["val/accuracy"].item() == pytest.approx(
        module.values["val/accuracy"]
    )
    assert "train/kd" not in module.values


def fixed() -> Schedule:
    return FixedSchedule([0.1, 0.2, 0.3, 0.1])


def falling() -> Schedule:
    """A plateau that takes no epoch for an improvement: the rate falls after each but the first."""
    return PlateauSchedule(0.2, factor=0.5, patience=1, min_delta=100.0)


def stepped() -> Schedule:
    """A rate that rises from step to step."""
    return SteppedSchedule(lambda step, steps: 0.01 * (1 + step / steps))


def test_a_stepped_rate_changes_at_every_step_and_is_one_throughout_an_accumulated_one() -> None:
    rates: list[float] = []

    class Watching(torch.optim.SGD):
        def step(self, *args: Any, **kwargs: Any) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args, **kwargs)

    watched: dict[str, Any] = {"optimizer": partial(Watching, lr=1.0), "schedule": stepped()}
    fit = trainer(2, accumulate_grad_batches=2)  # five batches an epoch: three steps
    fit.fit(Supervised(Network(core()), **watched), data(None))
    assert rates == pytest.approx([0.01 * (1 + step / 3) for step in range(6)])


@pytest.mark.parametrize("schedule", [fixed, falling, stepped])
def test_a_resumed_run_equals_an_uninterrupted_one_dropout_included(
    tmp_path: Path, schedule: Callable[[], Schedule]
) -> None:
    torch.manual_seed(1)
    start = Network(core(dropout=0.5))
    first = state(start)

    def fitted(epochs: int, checkpoint: Path | None = None) -> tuple[Trainer, Supervised]:
        network = Network(core(dropout=0.5))
        network.load_state_dict(first)
        module = supervised(network, schedule())
        fit = trainer(epochs)
        torch.manual_seed(epochs)  # what was drawn before must not matter
        fit.fit(module, data(Mixing("uniform")), ckpt_path=checkpoint, weights_only=True)
        return fit, module

    _, whole = fitted(4)
    half, _ = fitted(2)
    half.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed = fitted(4, tmp_path / "half.ckpt")
    assert equal(state(whole.network), state(resumed.network))
    assert not equal(state(whole.network), state(half.lightning_module.network))


def test_the_schedule_hears_the_val_nll() -> None:
    nlls: list[float] = []
    schedule = FixedSchedule([0.1, 0.1])
    schedule.epoch_ended = nlls.append  # type: ignore[method-assign]
    module = supervised(Network(core()), schedule)
    trainer().fit(module, data(None))
    assert len(nlls) == 2
    assert nlls[1] == module.values["val/nll"]


@pytest.mark.parametrize("rank", [0, 1])
def test_each_process_takes_its_rows_and_its_share_of_the_val(rank: int) -> None:
    datamodule, world = data(Mixing("uniform")), SimpleNamespace(
        global_rank=rank, world_size=2, lightning_module=SimpleNamespace(mixing=None),
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )  # fmt: skip
    datamodule.trainer = world  # type: ignore[assignment]
    batch = datamodule.on_after_batch_transfer(Step(1, 2), 0)
    assert datamodule.stream is not None
    plan = datamodule.stream.plan(1, 2)
    rows = torch.arange(2) + 2 * rank
    expected = vicinal_batch(datamodule.splits.train, plan, rows, VIEWS)
    assert torch.equal(batch.mixed, expected.mixed)
    assert torch.equal(batch.index, plan.image[rows])
    val = [datamodule.on_after_batch_transfer(r, 0).index for r in datamodule.val_dataloader()]
    assert torch.cat(val).tolist() == ([0, 1, 2], [3, 4, 5, 6])[rank]


def test_testing_counts_every_image_once_and_keeps_predictions_in_order() -> None:
    network = Network(core())
    datamodule = data(None)
    testing = measure_split(trainer(), network, datamodule, "test", save_logits=True)
    test = datamodule.splits.test
    with torch.no_grad():
        logits = network.eval()(test.pixels.float() / 255)
    predictions = testing.predictions()
    assert predictions["index"].tolist() == list(range(11))
    assert torch.equal(predictions["label"], test.labels)
    torch.testing.assert_close(predictions["logits"], logits)
    p = logits.double().softmax(dim=1)
    torch.testing.assert_close(predictions["confidence"], p.max(dim=1).values)
    assert torch.equal(predictions["prediction"], logits.argmax(dim=1))
    assert testing.compute(predictions)["n"] == 11
    assert testing.compute(predictions)["accuracy"] == pytest.approx(
        (logits.argmax(dim=1) == test.labels).double().mean().item()
    )
