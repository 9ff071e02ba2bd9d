"""Values that are not finite stop training with a message: which, when and on which images."""

import math
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
from mixkd.errors import NotFinite
from mixkd.losses.distillation import Losses
from mixkd.modules.distillation import Distillation
from mixkd.modules.learner import FiniteWatch, Learner
from mixkd.modules.optimization import FixedSchedule
from mixkd.modules.supervised import Supervised
from mixkd.networks.network import FrozenTeacher, Network
from mixkd.vicinal import VicinalBatch, VicinalStream


class Poisoned(nn.Module):
    """Linear; in pass `at_pass`, from 0, one logit is `value`."""

    def __init__(self, at_pass: int, value: float, training: bool = True) -> None:
        super().__init__()
        self.linear, self.at_pass, self.value, self.in_training = (
            nn.Linear(12, 3),
            at_pass,
            value,
            training,
        )
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.flatten(1))
        if self.training == self.in_training:
            if self.passes == self.at_pass:
                logits = logits.clone()
                logits[1, 2] = self.value
            self.passes += 1
        return logits


def images(n: int) -> Images:
    pixels = torch.randint(0, 256, (n, 3, 2, 2), dtype=torch.uint8)
    return Images(pixels, torch.arange(n) % 2, torch.arange(n) + 100)


STREAM = VicinalStream(20, 4, 5, None, slack=0, flip=True)


def fit(learner: Learner, parts: int = 1) -> None:
    splits = Splits(images(20), images(7), images(5), ("a", "b", "c"))
    cfg = DataConfig.model_construct(
        batch_size=4, eval_batch_size=3, pad=0, flip=True, size=None, resize=None
    )
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        accumulate_grad_batches=parts,
    )  # fmt: skip
    trainer.fit(learner, ImageDataModule(splits, cfg, STREAM, parts))


def rates(lr: float = 0.25) -> dict[str, Any]:
    optimizer = partial(torch.optim.SGD, lr=0.0)
    return {"optimizer": optimizer, "schedule": FixedSchedule([lr, lr])}


def supervised(core: nn.Module, lr: float = 0.25) -> Supervised:
    return Supervised(Network(core), **rates(lr))


def images_of_step(epoch: int, step: int) -> str:
    return ", ".join(str(int(k) + 100) for k in STREAM.plan(epoch, step).image)


# -inf leaves the loss as it is: no label is the third class.
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_step_is_named_with_its_images_and_rate(value: float) -> None:
    with pytest.raises(NotFinite) as caught:
        fit(supervised(Poisoned(7, value)))
    assert str(caught.value) == (
        "the network's logits are not finite in epoch 2, step 3, at a learning rate of 0.25, on "
        f"the training images {images_of_step(1, 2)}; take a lower optimizer.lr, "
        "trainer.clip_norm=1.0 or, if it is bf16, trainer.precision=float32"
    )


def test_of_a_step_in_parts_the_part_is_named() -> None:
    with pytest.raises(NotFinite) as caught:
        fit(supervised(Poisoned(5, math.nan)), parts=2)
    indices = images_of_step(0, 2).split(", ")[2:]
    assert (
        f"epoch 1, step 3, at a learning rate of 0.25, on the training images {indices[0]}, "
        in (message := str(caught.value))
    )
    assert f"{indices[0]}, {indices[1]}; " in message


def test_answers_of_a_teacher_that_are_not_finite_are_named() -> None:
    teacher = FrozenTeacher(Network(Poisoned(2, math.inf, training=False)))
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
    learner = Distillation(network, teacher, temperature=2.0, alpha=0.5, beta=0.5, **rates())
    with pytest.raises(NotFinite, match=r"^the teacher's answers are not finite in epoch 1, st"):
        fit(learner)


def test_a_loss_that_is_not_finite_is_named() -> None:
    class Divided(Supervised):
        def losses(self, batch: VicinalBatch) -> Losses:
            losses = super().losses(batch)
            return losses | {"loss": losses["loss"] / 0}

    core = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(NotFinite, match=r"^the loss is not finite in epoch 1, step 1, "):
        fit(Divided(Network(core), **rates()))


class Breaks(Supervised):
    """The last step of the first epoch breaks the weights."""

    def optimizer_step(self, *args: object, **kwargs: object) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.trainer.global_step == 4:  # counted when the step is over
            next(self.network.parameters()).data[0, 0] = math.nan


def test_weights_that_the_last_step_broke_are_found_by_the_held_out_images() -> None:
    learner = Breaks(Network(Poisoned(99, 0)), **rates())
    with pytest.raises(NotFinite, match="on the held-out images after epoch 1, step 5, at a lear"):
        fit(learner)


def test_broken_weights_are_not_saved() -> None:
    learner = supervised(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
    fit(learner)
    checkpoint: dict[str, object] = {}
    learner.on_save_checkpoint(checkpoint)
    assert "schedule" in checkpoint
    next(learner.network.parameters()).data[0, 0] = math.inf
    with pytest.raises(NotFinite, match="weights are not finite after 10 steps, in epoch"):
        learner.on_save_checkpoint({})


def test_the_watch_remembers_the_first_step_of_the_first_cause() -> None:
    watch, good, bad = FiniteWatch(), torch.ones(3), torch.tensor([1.0, math.nan])
    assert watch.fault(wait=True) is None
    watch.check(0, {"cause": good, "effect": good})
    assert watch.fault() is None
    watch.check(1, {"cause": good, "effect": bad})
    watch.check(2, {"cause": bad, "effect": bad})
    assert watch.fault() == ("effect", 1)
    watch.reset()
    assert watch.fault() is None
    watch.check(0, {"cause": bad, "effect": bad})
    assert watch.fault() == ("cause", 0)
