"""Learning from labels: ERM, and mixup where the stream mixes."""

from mixkd.losses import Losses, mixed_cross_entropy
from mixkd.modules.learner import Learner, MakeOptimizer
from mixkd.networks import Network
from mixkd.optimization import Schedule
from mixkd.vicinal import VicinalBatch


class Supervised(Learner):
    """Minimises the cross-entropy with the labels, mixed as the images are (eq. 8).

    Args:
        network: what learns.
        label_smoothing: the share of each label that is spread evenly over all classes.
        optimizer: makes the optimizer of its parameters.
        schedule: the learning rate of each epoch.
        seed: of what is random within a step.
    """

    def __init__(
        self,
        network: Network,
        *,
        label_smoothing: float,
        optimizer: MakeOptimizer,
        schedule: Schedule,
        seed: int,
    ) -> None:
        super().__init__(network, optimizer, schedule, seed)
        self.label_smoothing = label_smoothing

    def losses(self, batch: VicinalBatch) -> Losses:
        """Return the cross-entropy in nats."""
        logits = self(batch.mixed)
        ce = mixed_cross_entropy(
            logits, batch.label, batch.partner_label, batch.lam, self.label_smoothing
        )
        return Losses(ce, ce)
