"""Learning from labels: ERM, mixup where the stream mixes, and stage 1, of the head alone."""

from typing import Any

from torch import nn

from mixkd.losses.distillation import Losses, mixed_cross_entropy
from mixkd.modules.learner import Learner
from mixkd.vicinal import VicinalBatch


class Supervised(Learner):
    """Minimises the cross-entropy with the labels, mixed as the images are (eq. 8).

    Args:
        network: gives logits.
        label_smoothing: the share of each label that is spread evenly over all classes, in [0, 1).
        options: those of `Learner`, such as `mixing`.

    Raises:
        ValueError: for another share.

    Examples:
        >>> from torch import nn
        >>> from mixkd import Mixing, Supervised
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
        >>> module = Supervised(network, mixing=Mixing("beta", a=0.2))
        >>> # Trainer(max_epochs=10).fit(module, loader_of_images_and_labels)
    """

    def __init__(self, network: nn.Module, *, label_smoothing: float = 0.0, **options: Any) -> None:
        super().__init__(network, **options)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"got label_smoothing={label_smoothing}; takes a number in [0, 1)")
        self.label_smoothing = label_smoothing

    def losses(self, batch: VicinalBatch) -> Losses:
        """Return the cross-entropy in nats."""
        logits = self(batch.mixed)
        ce = mixed_cross_entropy(
            logits, batch.label, batch.partner_label, batch.lam, self.label_smoothing
        )
        return {"loss": ce, "ce": ce}


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
