"""Learning a frozen teacher's answers, on views or on mixed images."""

from typing import Any

import torch
from torch import Tensor, nn

from mixkd.losses.distillation import (
    Losses,
    check_weights,
    distillation,
    mixed_cross_entropy,
)
from mixkd.losses.divergences import divergence_of
from mixkd.losses.precision import as_float
from mixkd.losses.temperature import Temperature, check_temperature, squared
from mixkd.modules.comparison import Compared, Comparison
from mixkd.modules.hint import Hint
from mixkd.modules.learner import TEACHER, Learner
from mixkd.modules.tape import TapedTeacher
from mixkd.networks.checks import eval_mode
from mixkd.networks.network import FrozenTeacher
from mixkd.vicinal import Mixing, VicinalBatch


class Distillation(Learner):
    """Minimises alpha * CE + beta * T^2 * divergence + w * hint on mixed images (eq. 2, 9).

    Args:
        student: learns; it gives logits.
        teacher: is queried on what the student sees, frozen and in eval mode.
        temperature: a positive number, `sigma`, or a `Sigma`.
        divergence: how both networks' logits are compared: `kl`, another of mixkd's by its name,
            or a function of them, float [b, classes] each, that gives a scalar. It is given those
            of `temperature`, `label`, `partner`, `lam`, `index` and `partner_index` that its
            signature takes. None: they are not compared.
        hint: how both networks' features are compared: a `Hint`, the name of one, or a function of
            the features before their last layers, [b, features] each, called in the same way. What
            it learns is learned with the student. None: they are not compared.
        hint_weight: of the hint.
        alpha: weight of the cross-entropy with the (mixed) labels.
        beta: weight of the divergence.
        t_squared: whether the divergence is multiplied by T squared. One that takes `t_squared`,
            the factor, multiplies those of its parts that it is meant for.
        warmup_epochs: over which the weights of divergence and hint grow to their own, linearly, as
            published codes have it; 0: none.
        mixing: how images are mixed; None: not at all.
        taped: where the teacher's answers along the stream are recorded; None: nowhere. A tape
            holds logits alone: with a hint the teacher is asked for its features all the same.
        options: those of `Learner`.

    Raises:
        ValueError: for a weight, a temperature, a divergence or a hint that there is not.

    Examples:
        >>> from mixkd import Distillation
        >>> student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(192, 5)) for _ in "st")
        >>> module = Distillation(student, teacher, temperature=4.0, alpha=0.1, beta=0.9)
        >>> # Trainer(max_epochs=10).fit(module, loader_of_images_and_labels)
        >>> relations = Distillation(student, teacher, divergence="dkd", hint="rkd", alpha=1.0)
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | FrozenTeacher,
        *,
        temperature: Temperature = 2.0,
        divergence: str | Comparison | None = "kl",
        hint: str | Comparison | Hint | None = None,
        hint_weight: float = 1.0,
        alpha: float = 0.0,
        beta: float = 1.0,
        t_squared: bool = True,
        warmup_epochs: int = 0,
        mixing: Mixing | None = Mixing("uniform"),  # noqa: B008 - it is frozen
        taped: TapedTeacher | None = None,
        **options: Any,
    ) -> None:
        super().__init__(student, mixing=mixing, **options)
        check_weights(alpha=alpha, beta=beta, hint_weight=hint_weight, warmup_epochs=warmup_epochs)
        check_temperature(temperature)
        self.teacher = teacher if isinstance(teacher, FrozenTeacher) else FrozenTeacher(teacher)
        self.temperature = temperature
        self.divergence = divergence_of(divergence) if isinstance(divergence, str) else divergence
        self._logits = None if self.divergence is None else Compared(self.divergence, "divergence")
        if hint is not None and not isinstance(hint, Hint):
            hint = Hint(hint, student, self.teacher.network)
        self.hint, self.hint_weight = hint, hint_weight
        self.alpha, self.beta, self.t_squared = alpha, beta, t_squared
        self.warmup_epochs, self.taped = warmup_epochs, taped

    def on_fit_start(self) -> None:
        """Bring the teacher to the device."""
        super().on_fit_start()
        self.teacher.to(self.device)
        if self.taped is not None:
            self.taped.start(self.trainer)

    def on_train_epoch_end(self) -> None:
        """Close the epoch of the tape, too."""
        super().on_train_epoch_end()
        if self.taped is not None:
            self.taped.epoch_ended(self.trainer)

    def teardown(self, stage: str) -> None:
        """Let other runs record."""
        if self.taped is not None:
            self.taped.stop()

    def losses(self, batch: VicinalBatch) -> Losses:
        """Return the loss and its parts: `ce`, the divergence as `kd` and the `hint`, if any."""
        teacher = self.watched[TEACHER] = self._answers(batch)
        student = self(batch.mixed)
        ce = mixed_cross_entropy(student, batch.label, batch.partner_label, batch.lam)
        given = self._given(batch)
        losses = {"loss": self.alpha * ce, "ce": ce}
        if self._logits is not None:
            kd = self._logits(as_float(student), teacher, given)
            is_scaled = "t_squared" in self._logits.takes
            losses = distillation(
                ce, kd, self.temperature, alpha=self.alpha, beta=self.beta * self._warmth,
                t_squared=self.t_squared and not is_scaled,
            )  # fmt: skip
        if self.hint is not None:
            losses["hint"] = self.hint(given)
            losses["loss"] = losses["loss"] + self.hint_weight * self._warmth * losses["hint"]
        return losses

    def _answers(self, batch: VicinalBatch) -> Tensor:
        """Return the teacher's logits of a batch; a hint has it asked beside a tape, too."""
        if self.taped is None:
            return self.teacher(batch.mixed)
        if self.hint is None:
            return self.taped.answers(batch, self.teacher)
        logits = self.teacher(batch.mixed)
        return self.taped.answers(batch, lambda view: logits)

    def try_out(self, batch: VicinalBatch, classes: int) -> None:
        """Compare random logits, and the features of a batch, without any consequence.

        Raises:
            UserError: if the divergence or the hint fails, or gives nothing to learn from.
        """
        given = self._given(batch)
        with torch.random.fork_rng(devices=[]):
            if self._logits is not None:
                student, teacher = torch.randn(2, len(batch.label), classes)
                self._logits.try_out(student.requires_grad_(), teacher, given)
            if self.hint is not None:
                with eval_mode(self.network):
                    self.network(batch.mixed), self.teacher(batch.mixed)
                self.hint.try_out(given)

    def _given(self, batch: VicinalBatch) -> dict[str, Any]:
        """Return what a divergence and a hint may take, by its name among GIVEN."""
        return {
            "temperature": self.temperature,
            "t_squared": squared(self.temperature) if self.t_squared else 1.0,
            "label": batch.label,
            "partner": batch.partner_label,
            "lam": batch.lam,
            "index": batch.index,
            "partner_index": batch.partner_index,
        }

    @property
    def _warmth(self) -> float:
        """The share of their weights that the teacher's parts have in this epoch."""
        return min((self.current_epoch + 1) / max(self.warmup_epochs, 1), 1.0)
