"""The modules in a user's own Lightning script: any networks, any loaders."""

import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from mixkd import Distillation, ImageDataModule, Learner, Mixing, PlateauSchedule, Supervised
from mixkd.data.batches import ordinary_batch
from mixkd.errors import NotFinite
from tests.processes import forked

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
    "enable_progress_bar": False, "enable_model_summary": False,
}  # fmt: skip
CUTMIX = Mixing("beta", a=0.5, kind="cutmix")


def network(seed: int = 0, width: int = 5) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2),
        nn.Linear(width * 16, 3),
    )  # fmt: skip


def dataset(count: int = 40) -> TensorDataset:
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(count) % 3
    images = torch.rand(count, 3, 6, 6, generator=generator) * 0.5
    images[torch.arange(count), labels] += 0.5
    return TensorDataset(images, labels)


def loader(shuffle: bool = False) -> DataLoader[Any]:
    return DataLoader(dataset(), batch_size=8, shuffle=shuffle)


class Projection(nn.Module):
    """A hint with parameters: how far the student's features, mapped, are from the teacher's."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(80, 112)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (self.linear(student) - teacher).square().mean()


def distillation(**options: Any) -> Distillation:
    """Everything of the user's own; a cycle of rates that needs to know the number of steps."""
    torch.manual_seed(2)
    own: dict[str, Any] = {
        "hint": Projection(), "hint_weight": 0.1, "alpha": 0.1, "seed": 4,
        "optimizer": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
        "schedule": partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.01),
        "schedule_by": "step",
    }  # fmt: skip
    return Distillation(network(), network(1, width=7), **(own | options))


def supervised(**options: Any) -> Supervised:
    return Supervised(network(), mixing=CUTMIX, label_smoothing=0.1, ema=0.9, **options)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("make", [distillation, supervised])
def test_a_network_learns_and_is_measured(make: Any, shuffle: bool) -> None:
    module = make()
    before = state(module.network)
    trainer = Trainer(max_epochs=8, **QUIET)
    trainer.fit(module, loader(shuffle), loader())
    assert not equal(before, state(module.network))
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    parts = ["loss", "ce", "kd", "hint"] if make is distillation else ["loss", "ce"]
    assert [n for n in module.values if n.startswith("train/")] == [f"train/{n}" for n in parts]
    assert logged["val/accuracy"] > 0.8
    assert logged["val/nll"] == pytest.approx(module.values["val/nll"])
    assert [row["count"] for row in module.reliability]
    tested = trainer.test(module, loader(), verbose=False)[0]
    assert {"test/accuracy", "test/ece", "test/nll"} <= tested.keys()
    assert trainer.validate(module, loader(), verbose=False)[0]["val/nll"] == tested["test/nll"]


def test_without_held_out_images_there_are_no_held_out_metrics() -> None:
    module = supervised()
    trainer = Trainer(max_epochs=2, **QUIET)
    trainer.fit(module, loader())
    assert set(module.values) == {"lr", "train/loss", "train/ce", "images_per_second"}
    waiting = supervised(schedule=PlateauSchedule(0.1, factor=0.5, patience=1))
    with pytest.raises(ValueError, match="PlateauSchedule follows val/nll"):
        Trainer(max_epochs=1, **QUIET).fit(waiting, loader())


class Endless(IterableDataset[Any]):
    """Images one after another, whose number is not told."""

    def __iter__(self) -> Any:
        return iter(dataset())


def test_means_are_over_the_batches_of_a_loader_that_tells_no_length() -> None:
    told, untold = supervised(), supervised()
    Trainer(max_epochs=2, **QUIET).fit(told, loader())
    Trainer(max_epochs=2, **QUIET).fit(untold, DataLoader(Endless(), batch_size=8))
    assert untold.values["train/loss"] == told.values["train/loss"] > 0


@pytest.mark.parametrize("make", [distillation, supervised])
def test_a_resumed_run_ends_as_an_uninterrupted_one(make: Any, tmp_path: Path) -> None:
    def fitted(epochs: int, checkpoint: Path | None = None) -> tuple[Trainer, Learner]:
        module = make()
        torch.manual_seed(epochs)  # what was drawn before must not matter
        # Of four epochs always: the cycle of rates is as long.
        trainer = Trainer(max_epochs=4, **QUIET)
        trainer.fit_loop.max_epochs = 4
        if checkpoint is None and epochs < 4:
            trainer.callbacks.append(Stop(epochs))  # type: ignore[attr-defined]
        trainer.fit(module, loader(), loader(), ckpt_path=checkpoint, weights_only=True)
        return trainer, module

    _, whole = fitted(4)
    half, _ = fitted(2)
    half.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed = fitted(4, tmp_path / "half.ckpt")
    assert equal(state(whole), state(resumed))
    assert whole.values.items() - {("images_per_second", 0)} >= {
        (name, value) for name, value in resumed.values.items() if name != "images_per_second"
    }
    assert not equal(state(whole), state(half.lightning_module))


class Stop(EarlyStopping):
    """Ends training after so many epochs."""

    def __init__(self, epochs: int) -> None:
        super().__init__("train/loss")
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Nothing is looked at."""


def test_a_cycle_of_rates_resumes_within_an_epoch_of_mixkds_data(tmp_path: Path) -> None:
    """Lightning's estimate of the steps would make the loader before the checkpoint is read."""
    images, labels = dataset().tensors

    def fitted(checkpoint: Path | None = None, **options: Any) -> tuple[Trainer, Distillation]:
        module = distillation()
        trainer = Trainer(max_epochs=3, **(QUIET | options))
        data = ImageDataModule.of((images, labels), batch_size=8, pad=1)
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        return trainer, module

    saved = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4, save_top_k=-1)
    _, whole = fitted(callbacks=[saved], enable_checkpointing=True)
    middle = tmp_path / "step=4.ckpt"
    assert torch.load(middle, weights_only=True)["epoch"] == 1
    _, resumed = fitted(middle)
    assert equal(state(whole), state(resumed))


def test_a_scheduler_hears_how_often_it_steps() -> None:
    told = []

    def schedule(optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
        told.append(total_steps)
        return torch.optim.lr_scheduler.ConstantLR(optimizer)

    for by in ("step", "epoch"):
        module = supervised(schedule=schedule, schedule_by=by)
        Trainer(max_epochs=3, accumulate_grad_batches=2, **QUIET).fit(module, loader())
    data = ImageDataModule.of(dataset().tensors, batch_size=8, holdout=0.2, pad=0)
    Trainer(max_epochs=2, **QUIET).fit(supervised(schedule=schedule, schedule_by="step"), data)
    assert told == [9, 3, 6]  # of mixkd's data 24 images are trained on


def test_a_cycle_of_rates_is_what_the_optimizer_has_and_the_history_says() -> None:
    rates: list[float] = []

    class Watching(torch.optim.SGD):
        def step(self, *args: Any, **kwargs: Any) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args, **kwargs)

    module = distillation(optimizer=partial(Watching, lr=0.1, momentum=0.9))
    Trainer(max_epochs=2, **QUIET).fit(module, loader())
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=10)
    expected = []
    for _ in range(10):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cycle.step()
    assert rates == expected
    assert module.values["lr"] == rates[-1]


def test_an_ordinary_batch_is_mixed_by_epoch_step_and_rank() -> None:
    images, labels = (tensor[:8] for tensor in dataset().tensors)
    drawn = partial(ordinary_batch, images, labels, Mixing("uniform"), seed=5)
    batch, again = drawn(epoch=1, step=2, rank=0), drawn(epoch=1, step=2, rank=0)
    assert torch.equal(batch.lam, again.lam)
    assert torch.equal(batch.mixed, again.mixed)
    for place in ((2, 2, 0), (1, 3, 0), (1, 2, 1)):
        other = drawn(**dict(zip(("epoch", "step", "rank"), place, strict=True)))
        assert not torch.equal(batch.lam, other.lam)
    lam = batch.lam.view(-1, 1, 1, 1)
    partner = (batch.mixed - lam * images) / (1 - lam)
    match = (partner[:, None] - images[None]).abs().amax((2, 3, 4)).argmin(1)
    assert sorted(match.tolist()) == list(range(8))
    assert torch.equal(labels[match], batch.partner_label)
    half = Mixing(0.5, kind="cutmix")
    boxes = ordinary_batch(images, labels.int(), half, seed=5, epoch=0, step=0)
    assert boxes.label.dtype == torch.int64
    own = (boxes.mixed == images).all(1).float().mean((1, 2))
    mixes = own < 1  # its partner is another
    assert mixes.sum() > 3
    torch.testing.assert_close(own[mixes], boxes.lam[mixes])
    plain = ordinary_batch((images * 255).byte(), labels, None, seed=5, epoch=0, step=0)
    assert torch.equal(plain.lam, torch.ones(8))
    torch.testing.assert_close(plain.mixed, images, atol=1 / 255, rtol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: distillation(mixing="beta"), "mixing='beta'; takes a Mixing, or None"),
        (lambda: distillation(divergence=3), "divergence=3; takes a name, a function, or None"),
        (lambda: distillation(hint=3), "hint=3; takes a name, a function, or None"),
        (lambda: Distillation(network(), "w.pt"), "teacher='w.pt'; takes a torch.nn.Module, or a"),
        (lambda: Supervised(3), "network=3; takes a torch.nn.Module"),
        (lambda: Supervised(network(), loss=3), "loss=3; takes a name, a function of logits and"),
        (lambda: supervised(optimizer="adam"), "optimizer='adam'; takes a function of parameters"),
        (lambda: supervised(schedule="cosine"), "schedule='cosine'; takes a Schedule, a function"),
        (lambda: supervised(metrics=3), "metrics=3; takes metrics by name"),
        (lambda: supervised(seed="x"), "seed='x'; takes a whole number, 0 or more"),
        (lambda: supervised(clip_norm="1"), "clip_norm='1'; takes a number above 0, or None"),
        (lambda: Supervised(network(), ema="x"), "ema='x'; takes a number above 0 and below 1"),
        (
            lambda: Supervised(network(), label_smoothing=[]),
            r"label_smoothing=\[\]; takes a number",
        ),
    ],
)
def test_an_argument_of_another_kind_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^got {message}"):
        make()


@pytest.mark.parametrize(
    "batch", [torch.rand(4, 3, 6, 6), {"images": 0}, (torch.rand(4, 3, 6, 6), [0, 1])]
)
def test_another_batch_is_refused(batch: Any) -> None:
    with pytest.raises(ValueError, match="takes \\(images, labels\\)"):
        supervised().validation_step(batch, 0)


def test_soft_labels_are_refused() -> None:
    images = torch.rand(4, 3, 6, 6)
    with pytest.raises(ValueError, match=r"labels torch.float32 \[4, 3\]; takes"):
        ordinary_batch(images, torch.rand(4, 3), None, seed=0, epoch=0, step=0)


def test_what_is_not_finite_is_told_without_the_images() -> None:
    module = supervised(optimizer=partial(torch.optim.SGD, lr=1e30))
    with pytest.raises(NotFinite, match=r"not finite in epoch 1, step \d, at a learning rate of"):
        Trainer(max_epochs=2, **QUIET).fit(module, loader())
    nn.init.constant_(module.network[-1].weight, torch.nan)  # type: ignore[index]
    module.average = None
    with pytest.raises(NotFinite, match=r"not finite on the held-out images; take a lower"):
        Trainer(**QUIET).validate(module, loader())


def in_two(rank: int, port: int, out: str) -> None:
    """Be one of two processes of a fit; write what it drew and ended with."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    module, drawn = distillation(), []
    original = module.losses

    def losses(batch: Any) -> Any:
        drawn.append((batch.lam, batch.epoch, batch.step))
        return original(batch)

    counts: list[int] = []
    compute = module.validation.compute

    def counted() -> dict[str, float]:
        metrics = compute()
        counts.append(int(metrics["n"]))
        return metrics

    module.losses, module.validation.compute = losses, counted  # type: ignore[method-assign]
    held_out = DataLoader(TensorDataset(torch.rand(7, 3, 6, 6), torch.arange(7) % 3), batch_size=2)
    stopping = EarlyStopping("val/nll", patience=9)  # every process has to know the value
    trainer = Trainer(max_epochs=2, devices=2, strategy="ddp", callbacks=[stopping], **QUIET)
    trainer.fit(module, loader(), held_out)
    assert set(counts) == {7}  # though each process is given four
    values = {name: value for name, value in module.values.items() if "second" not in name}
    torch.save({"drawn": drawn, "state": state(module), "values": values}, f"{out}/{rank}.pt")


@pytest.mark.integration
def test_two_processes_draw_apart_and_learn_as_one(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = port, str(tmp_path)
    with forked(in_two, 0, *place) as first, forked(in_two, 1, *place) as second:
        errors = first.stderr.read() + second.stderr.read()
        assert (first.wait(), second.wait()) == (0, 0), errors
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name in one["state"]:
        if "running" not in name:  # BatchNorm's statistics are each process's own
            assert torch.equal(one["state"][name], two["state"][name]), name
    assert one["values"].keys() == two["values"].keys()
    assert one["values"]["train/hint"] == two["values"]["train/hint"]
    assert len(one["drawn"]) == 2 * 3
    for rank, held in enumerate((one, two)):
        for lam, epoch, step in held["drawn"]:
            images = torch.zeros(len(lam), 3, 6, 6)
            labels = torch.zeros(len(lam), dtype=torch.int64)
            expected = ordinary_batch(
                images, labels, Mixing("uniform"), seed=4, epoch=epoch, step=step, rank=rank
            )
            assert torch.equal(lam, expected.lam)
