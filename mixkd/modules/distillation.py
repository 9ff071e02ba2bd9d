"""Learning a frozen teacher's answers, on views or on mixed images."""

from torch import Tensor

from mixkd.losses.distillation import (
    Losses,
    Temperature,
    distillation,
    distillation_kl,
    mixed_cross_entropy,
)
from mixkd.modules.learner import TEACHER, Learner
from mixkd.modules.optimization import Optimization
from mixkd.modules.tape import TapedTeacher
from mixkd.networks.network import FrozenTeacher, Network
from mixkd.vicinal import VicinalBatch


class Distillation(Learner):
    """Minimises alpha * CE + beta * T^2 * KL(teacher || student) on the same tensor (eq. 2, 9).

    Args:
        network: the student.
        optimization: how it learns.
        seed: of what is random within a step.
        teacher: queried on what the student sees.
        temperature: a positive number, or `sigma`.
        alpha: weight of the cross-entropy with the (mixed) labels.
        beta: weight of the teacher's part.
        t_squared: whether the teacher's part is multiplied by T squared.
        taped: where the teacher's answers along the stream are recorded; None: nowhere.
    """

    def __init__(
        self,
        network: Network,
        optimization: Optimization,
        seed: int,
        *,
        teacher: FrozenTeacher,
        temperature: Temperature,
        alpha: float,
        beta: float,
        t_squared: bool,
        taped: TapedTeacher | None = None,
    ) -> None:
        super().__init__(network, optimization, seed)
        self.teacher, self.temperature = teacher, temperature
        self.alpha, self.beta, self.t_squared = alpha, beta, t_squared
        self.taped = taped

    def on_fit_start(self) -> None:
        """Bring the teacher to the device."""
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
        """Return the loss, its cross-entropy and its KL at the temperature."""
        if self.taped is None:
            teacher = self.teacher(batch.mixed)
        else:
            teacher = self.taped.answers(batch, self.teacher)
        self.watched[TEACHER] = teacher
        student = self(batch.mixed)
        ce = mixed_cross_entropy(student, batch.label, batch.partner_label, batch.lam)
        kd = self.divergence(student, teacher)
        return distillation(
            ce, kd, self.temperature, alpha=self.alpha, beta=self.beta, t_squared=self.t_squared
        )

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return how far two networks' logits [b, classes] are apart; override it for your own.

        It is a float32 scalar in nats, without T squared.
        """
        return distillation_kl(student, teacher, self.temperature)
