"""Stage 1: a new head learns from labels while its pretrained backbone stands still."""

from torch import nn

from mixkd.modules.optimization import Optimization
from mixkd.modules.supervised import Supervised
from mixkd.networks.network import Network


class HeadTraining(Supervised):
    """Minimises the cross-entropy over the head alone; the backbone is frozen, in eval mode.

    Parameters are frozen when a fit begins, before anything wraps the module, and released when it
    ends: a fit of the whole network has to follow as one of its own.

    Args:
        network: whose head learns.
        head: the part of it that learns.
        optimization: how.
        seed: of what is random within a step.
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
