"""Learning from labels: ERM, mixup where the stream mixes, and stage 1, of the head alone."""

from typing import Any

from torch import nn

from mixkd.errors import check_that
from mixkd.losses.distillation import Losses, mixed_cross_entropy
from mixkd.losses.labels import LabelLoss, label_loss_of
from mixkd.modules.learner import Learner
from mixkd.vicinal import VicinalBatch


class Supervised(Learner):
    """Minimises the cross-entropy with labels, mixed as the images are (eq. 8), or another loss.

    Args:
        network: gives logits.
        loss: what is minimised in place of the cross-entropy: a name, such as `focal`, or a
            function of logits, float [b, classes], and label, int64 [b], then by their names
            `partner`, int64 [b], the partners' labels, and `lam`, float32 [b], that gives a scalar.
        label_smoothing: of the cross-entropy: the share of each label that is spread evenly over
            all classes, in [0, 1).
        options: those of `Learner`, such as `mixing`.

    Raises:
        ValueError: for another share or name, or a share beside another loss.

    Examples:
        >>> from torch import nn
        >>> from mixkd import Mixing, Supervised
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
        >>> module = Supervised(network, mixing=Mixing("beta", a=0.2))
        >>> # Trainer(max_epochs=10).fit(module, loader_of_images_and_labels)
        >>> focal = Supervised(network, loss="focal")
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: str | LabelLoss | None = None,
        label_smoothing: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(network, **options)
        check_that("label_smoothing", label_smoothing, lambda it: 0 <= it < 1, "a number in [0, 1)")
        if label_smoothing and loss is not None:
            raise ValueError(f"got label_smoothing={label_smoothing} beside another loss; takes 0")
        self.loss = label_loss_of(loss) if isinstance(loss, str) else loss
        takes = "a name, a function of logits and labels, or None"
        check_that("loss", self.loss, lambda it: it is None or callable(it), takes)
        self.label_smoothing = label_smoothing

    def losses(self, batch: VicinalBatch) -> Losses:
        """Return the loss, and the cross-entropy as `ce`, in nats."""
        logits, label = self(batch.mixed), batch.label
        partner, lam = batch.partner_label, batch.lam
        ce = mixed_cross_entropy(logits, label, partner, lam, self.label_smoothing)
        if self.loss is None:
            return {"loss": ce, "ce": ce}
        return {"loss": self.loss(logits, label, partner=partner, lam=lam), "ce": ce}


class HeadTraining(Supervised):
    """Minimises the cross-entropy over the head alone; the backbone is frozen, in eval mode.

    Parameters are frozen when a fit begins, before anything wraps the module, and released when it
    ends: a fit of the whole network has to follow as one of its own.
    """

    def __init__(self, network: nn.Module, head: nn.Module, **options: Any) -> None:
        super().__init__(network, **options)
        self._head = [head]  # in a list: it is part of the network already
        self._frozen: list[nn.Parameter] = []

    def setup(self, stage: str) -> None:
        """Freeze the backbone."""
        head = {id(p) for p in self._head[0].parameters()}
        self._frozen = [p for p in self.learning() if id(p) not in head]
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        self.train()

    def teardown(self, stage: str) -> None:
        """Release the backbone."""
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._frozen = []

    def train(self, mode: bool = True) -> "HeadTraining":
        """Switch the head's mode; the backbone is always in eval mode."""
        super().train(mode)
        self.network.eval()
        self._head[0].train(mode)
        return self
