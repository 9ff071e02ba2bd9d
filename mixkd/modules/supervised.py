"""Learning from labels: ERM, and mixup where the stream mixes."""

from mixkd.losses import Losses, mixed_cross_entropy
from mixkd.modules.learner import Learner
from mixkd.vicinal import VicinalBatch


class Supervised(Learner):
    """Minimises the cross-entropy with the labels, mixed as the images are (eq. 8)."""

    def losses(self, batch: VicinalBatch) -> Losses:
        """Return the cross-entropy in nats."""
        logits = self(batch.mixed)
        ce = mixed_cross_entropy(logits, batch.label, batch.partner_label, batch.lam)
        return Losses(ce, ce)
