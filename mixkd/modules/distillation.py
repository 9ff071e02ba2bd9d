"""Learning a frozen teacher's answers, on views or on mixed images."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from mixkd.losses.distillation import (
    Losses,
    Temperature,
    check_temperature,
    check_weights,
    distillation,
    mixed_cross_entropy,
)
from mixkd.losses.divergences import GIVEN, divergence_of
from mixkd.modules.learner import TEACHER, Learner, checked_scalar
from mixkd.modules.tape import TapedTeacher
from mixkd.networks.network import Features, FrozenTeacher
from mixkd.parts import takes_argument
from mixkd.vicinal import Mixing, VicinalBatch

# f(student, teacher, ...) -> a scalar, of logits or of features; it is given those of GIVEN by name
# that its signature takes.
Comparison = Callable[..., Tensor]


class Distillation(Learner):
    """Minimises alpha * CE + beta * T^2 * divergence + w * hint on mixed images (eq. 2, 9).

    Args:
        student: learns; it gives logits.
        teacher: is queried on what the student sees, frozen and in eval mode.
        temperature: a positive number, or `sigma`.
        divergence: how both networks' logits are compared: `kl`, or a function of them, float
            [b, classes] each, that gives a scalar. It is given those of `temperature`, `label`,
            `partner` and `lam` that its signature takes.
        hint: a function of both networks' features before their last layers, [b, features] each,
            called in the same way; the parameters of a module learn with the student. None: none.
        hint_weight: of the hint.
        alpha: weight of the cross-entropy with the (mixed) labels.
        beta: weight of the teacher's part.
        t_squared: whether the teacher's part is multiplied by T squared.
        mixing: how images are mixed; None: not at all.
        taped: where the teacher's answers along the stream are recorded; None: nowhere.
        options: those of `Learner`.

    Raises:
        ValueError: for a weight, a temperature or a divergence that there is not.

    Examples:
        >>> from mixkd import Distillation
        >>> student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(192, 5)) for _ in "st")
        >>> module = Distillation(student, teacher, temperature=4.0, alpha=0.1, beta=0.9)
        >>> # Trainer(max_epochs=10).fit(module, loader_of_images_and_labels)
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | FrozenTeacher,
        *,
        temperature: Temperature = 2.0,
        divergence: str | Comparison = "kl",
        hint: Comparison | None = None,
        hint_weight: float = 1.0,
        alpha: float = 0.0,
        beta: float = 1.0,
        t_squared: bool = True,
        mixing: Mixing | None = Mixing("uniform"),  # noqa: B008 - it is frozen
        taped: TapedTeacher | None = None,
        **options: Any,
    ) -> None:
        super().__init__(student, mixing=mixing, **options)
        check_weights(alpha=alpha, beta=beta, hint_weight=hint_weight)
        check_temperature(temperature)
        if hint is not None and taped is not None:
            raise ValueError("a tape holds logits alone, and a hint asks for features")
        self.teacher = teacher if isinstance(teacher, FrozenTeacher) else FrozenTeacher(teacher)
        self.temperature = temperature
        self.divergence = divergence_of(divergence) if isinstance(divergence, str) else divergence
        self.hint, self.hint_weight = hint, hint_weight
        comparisons = {"divergence": self.divergence, "hint": hint}
        self._taken = {key: taken_by(f) for key, f in comparisons.items() if f is not None}
        self.alpha, self.beta, self.t_squared = alpha, beta, t_squared
        self.taped = taped
        if hint is not None:
            self._features = [
                Features(network, "hint") for network in (self.network, self.teacher.network)
            ]

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
        """Return the loss, its cross-entropy, its divergence as `kd`, and its hint if any."""
        if self.taped is None:
            teacher = self.teacher(batch.mixed)
        else:
            teacher = self.taped.answers(batch, self.teacher)
        self.watched[TEACHER] = teacher
        student = self(batch.mixed)
        ce = mixed_cross_entropy(student, batch.label, batch.partner_label, batch.lam)
        kd = self._compared("divergence", self.divergence, student, teacher, batch)
        weights = {"alpha": self.alpha, "beta": self.beta, "t_squared": self.t_squared}
        losses = distillation(ce, kd, self.temperature, **weights)  # type: ignore[arg-type]
        if self.hint is not None:
            of_student, of_teacher = (features.taken() for features in self._features)
            losses["hint"] = self._compared("hint", self.hint, of_student, of_teacher, batch)
            losses["loss"] = losses["loss"] + self.hint_weight * losses["hint"]
        return losses

    def _compared(
        self, key: str, comparison: Comparison, student: Tensor, teacher: Tensor,
        batch: VicinalBatch,
    ) -> Tensor:  # fmt: skip
        """Return how far what two networks give of a batch is apart, a float32 scalar.

        Raises:
            Unfit: if the comparison, which `key` gives, gives no scalar.
        """
        of_batch = (self.temperature, batch.label, batch.partner_label, batch.lam)
        given = dict(zip(GIVEN, of_batch, strict=True))
        value = comparison(student, teacher, **{name: given[name] for name in self._taken[key]})
        return checked_scalar(value, key, f"{name_of(comparison)} gives").float()


def name_of(comparison: Comparison) -> str:
    """Return what a function is called, or the class of what is called like one."""
    function = comparison.func if isinstance(comparison, partial) else comparison
    return str(getattr(function, "__name__", type(function).__name__))


def taken_by(comparison: Comparison) -> tuple[str, ...]:
    """Return the names among GIVEN that a function, or a module's `forward`, takes."""
    called = comparison.forward if isinstance(comparison, nn.Module) else comparison
    return tuple(name for name in GIVEN if takes_argument(called, name))
