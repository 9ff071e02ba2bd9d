"""A LightningModule that asks networks about the same, corrupted, images."""

from collections.abc import Mapping

import numpy as np
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from mixkd.data.batches import EvaluationBatch
from mixkd.metrics.calibration import Calibration
from mixkd.metrics.measurement import gathered
from mixkd.networks.network import Network


class CorruptionProbe(LightningModule):
    """Measures networks on one set of images after another.

    Args:
        networks: by name.
        temperatures: of the networks whose scaled logits are measured too.
    """

    def __init__(self, networks: Mapping[str, Network], temperatures: Mapping[str, float]) -> None:
        super().__init__()
        self.networks, self.temperatures = dict(networks), dict(temperatures)
        self._plain = {name: Calibration() for name in networks}
        self._scaled = {name: Calibration() for name in temperatures}
        parts = (*networks.values(), *self._plain.values(), *self._scaled.values())
        self._parts = nn.ModuleList(parts)  # so that they follow to the device
        self._hits: list[dict[str, Tensor]] = []

    def on_test_epoch_start(self) -> None:
        """Start a set of images afresh."""
        for metric in (*self._plain.values(), *self._scaled.values()):
            metric.reset()
        self._hits = []

    def test_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        """Count a batch, and keep which images each network gets right."""
        hits = {"index": batch.index.cpu()}
        for name, network in self.networks.items():
            logits = network(batch.view)
            self._plain[name].update(logits, batch.label)
            if name in self._scaled:
                scaled = logits.double() / self.temperatures[name]
                self._scaled[name].update(scaled, batch.label)
            hits[f"hit/{name}"] = (logits.argmax(dim=1) == batch.label).cpu()
        self._hits.append(hits)

    def values(self) -> dict[str, dict[str, float]]:
        """Return each network's metrics over all processes, as `Calibration.compute` has them.

        `scaled/ece` and `scaled/confidence` are of logits over the network's temperature.

        Raises:
            NotFinite: if logits were not finite.
        """
        found = {name: metric.compute() for name, metric in self._plain.items()}
        for name, metric in self._scaled.items():
            own = metric.compute()
            found[name] |= {f"scaled/{key}": own[key] for key in ("confidence", "ece")}
        return found

    def hits(self) -> dict[str, np.ndarray]:
        """Return which images each network got right: bool [n], in the data set's order."""
        whole = gathered(self._hits, "index")
        return {name: whole[f"hit/{name}"].numpy() for name in self.networks}
