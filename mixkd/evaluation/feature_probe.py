"""A LightningModule that keeps what a network's last layer sees."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from mixkd.data.batches import EvaluationBatch
from mixkd.metrics.measurement import gathered
from mixkd.networks.network import Network


class FeatureProbe(LightningModule):
    """Keeps penultimate features: the input of the layer that gives the logits.

    Args:
        network: whose features.
        last: the part of it that gives the logits.
    """

    def __init__(self, network: Network, last: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._collected: list[dict[str, Tensor]] = []
        self._seen: list[Tensor] = []
        self._hook = last.register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._seen.append(inputs[0].detach().flatten(1).float().cpu())

    def test_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        """Keep a batch's features."""
        self._seen.clear()
        self.network(batch.view)
        self._collected.append(
            {
                "features": torch.cat(self._seen),
                "index": batch.index.cpu(),
                "label": batch.label.cpu(),
            }
        )

    def on_test_end(self) -> None:
        """Stop looking."""
        self._hook.remove()

    def features(self) -> dict[str, Tensor]:
        """Return `features` float32 [n, d], `index` and `label` int64 [n], in data set order."""
        return gathered(self._collected, "index")
