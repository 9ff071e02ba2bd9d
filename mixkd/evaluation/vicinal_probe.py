"""A LightningModule that asks networks about images between pairs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from mixkd.data.batches import PairBatch
from mixkd.errors import NotFinite
from mixkd.metrics.measurement import gathered
from mixkd.metrics.vicinal import ask_between, is_pair, summary


class VicinalProbe(LightningModule):
    """Queries networks on the same mixed images, over a grid of lambda.

    Args:
        networks: by name, from views to logits; `teacher` and `student` are also compared with each
            other.
        lambdas: the grid on [0, 1], both ends included.
        temperatures: of the networks for which nl is also found with scaled logits.
    """

    def __init__(
        self,
        networks: Mapping[str, Callable[[Tensor], Tensor]],
        lambdas: Sequence[float],
        temperatures: Mapping[str, float],
    ) -> None:
        super().__init__()
        self.networks = dict(networks)
        parts = [network for network in networks.values() if isinstance(network, nn.Module)]
        self._parts = nn.ModuleList(parts)  # so that they follow to the device
        self.lambdas, self.temperatures = tuple(lambdas), temperatures
        self._collected: list[dict[str, Tensor]] = []
        self._teacher_sum: Tensor | None = None

    def on_test_epoch_start(self) -> None:
        """Start afresh."""
        self._collected, self._teacher_sum = [], None

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Keep each pair's values at each lambda."""
        found, total = ask_between(
            self.networks, batch.first, batch.second, self.lambdas, self.temperatures
        )
        kept = {name: value.cpu() for name, value in found.items()}
        self._collected.append(kept | {"position": batch.position.cpu()})
        if total is not None:
            self._teacher_sum = total if self._teacher_sum is None else self._teacher_sum + total

    def summary(self) -> tuple[dict[str, list[dict[str, Any]]], dict[str, float]]:
        """Return the rows of vicinal.csv by network, and the headline figures, over all processes.

        They are what `mixkd.metrics.vicinal.summary` returns.

        Raises:
            NotFinite: if a network's logits were not finite.
        """
        teacher = self.mean_teacher() if is_pair(self.networks) else None
        return summary(self.values(), teacher, self.lambdas)

    def values(self) -> dict[str, dict[str, np.ndarray]]:
        """Return all pairs' values from all processes, by network and name.

        They are what `pair_values` returns, and the student's `kl`, from its teacher: float64,
        shape [pairs, lambdas].

        Raises:
            NotFinite: if a network's logits were not finite.
        """
        found: dict[str, dict[str, np.ndarray]] = {name: {} for name in self.networks}
        for path, value in gathered(self._collected, "position").items():
            network, _, name = path.partition("/")
            if name:
                found[network][name] = value.numpy()
                if not np.isfinite(found[network][name]).all():
                    raise NotFinite(f"the logits of {network} are not finite")
        return found

    def mean_teacher(self) -> np.ndarray:
        """Return the teacher's mean probabilities over all processes' pairs: [lambdas, classes]."""
        assert self._teacher_sum is not None
        pairs = sum(len(kept["position"]) for kept in self._collected)
        total = torch.cat([self._teacher_sum.flatten(), self._teacher_sum.new_tensor([pairs])])
        total = self.trainer.strategy.reduce(total, reduce_op="sum")
        return (total[:-1] / total[-1]).reshape(self._teacher_sum.shape).cpu().numpy()
