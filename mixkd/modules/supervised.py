"""Learning from labels: ERM, and mixup where the stream mixes."""

from mixkd.losses.distillation import Losses, mixed_cross_entropy
from mixkd.modules.learner import Learner
from mixkd.modules.optimization import Optimization
from mixkd.networks.network import Network
from mixkd.vicinal import VicinalBatch


class Supervised(Learner):
    """Minimises the cross-entropy with the labels, mixed as the images are (eq. 8).

    Args:
        network: what learns.
        optimization: how.
        seed: of what is random within a step.
        label_smoothing: the share of each label that is spread evenly over all classes.
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
