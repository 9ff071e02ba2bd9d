"""Learning from labels: ERM, mixup where the stream mixes, and stage 1, of the head alone."""

from torch import nn

from mixkd.losses.distillation import Losses, mixed_cross_entropy
from mixkd.modules.learner import Learner
from mixkd.modules.optimization import Optimization
from mixkd.networks.network import Network
from mixkd.vicinal import VicinalBatch


class Supervised(Learner):
    """Minimises the cross-entropy with the labels, mixed as the images are (eq. 8).

    A share `label_smoothing` of each label is spread evenly over all classes.
    """

    def __init__(
        self,
        network: Network,
        optimization: Optimization,
        seed: int,
        *,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(network, optimization, seed)
        self.label_smoothing = label_smoothing

    def losses(self, batch: VicinalBatch) -> Losses:
        """Return the cross-entropy in nats."""
        logits = self(batch.mixed)
        ce = mixed_cross_entropy(
            logits, batch.label, batch.partner_label, batch.lam, self.label_smoothing
        )
        return Losses(ce, ce)


class HeadTraining(Supervised):
    """Minimises the cross-entropy over the head alone; the backbone is frozen, in eval mode.

    Parameters are frozen when a fit begins, before anything wraps the module, and released when it
    ends: a fit of the whole network has to follow as one of its own.
    """

    def __init__(
        self, network: Network, head: nn.Module, optimization: Optimization, seed: int
    ) -> None:
        super().__init__(network, optimization, seed)
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
