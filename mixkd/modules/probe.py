"""A LightningModule that asks networks about images between pairs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from mixkd.data.datamodule import PairBatch
from mixkd.errors import NotFinite
from mixkd.metrics.measurement import gathered
from mixkd.metrics.vicinal import (
    Line,
    alignment_metrics,
    alignment_rows,
    curve_metrics,
    gain_metrics,
    kl,
    network_rows,
    pair_values,
)
from mixkd.vicinal import mix


class VicinalProbe(LightningModule):
    """Queries networks on the same mixed images, over a grid of lambda.

    A pair costs a network one forward pass a lambda: at 0 and 1 the answers are the clean ones.

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

    @property
    def is_pair(self) -> bool:
        """Whether there are a teacher and a student."""
        return {"teacher", "student"} <= self.networks.keys()

    def on_test_epoch_start(self) -> None:
        """Start afresh."""
        self._collected, self._teacher_sum = [], None

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Keep each pair's values at each lambda."""
        clean = {n: (net(batch.first), net(batch.second)) for n, net in self.networks.items()}
        lines = {name: Line(*both) for name, both in clean.items()}
        scaled = {
            name: Line(*(x.double() / t for x in clean[name]))
            for name, t in self.temperatures.items()
        }
        found: dict[str, list[Tensor]] = {}
        means: list[Tensor] = []
        for lam in self.lambdas:
            answers = {n: first if lam else second for n, (first, second) in clean.items()}
            if 0 < lam < 1:
                weight = torch.full((len(batch.position),), lam, device=batch.first.device)
                mixed = mix(batch.first, batch.second, weight)
                answers = {name: network(mixed) for name, network in self.networks.items()}
            for name, line in lines.items():
                values = pair_values(line, answers[name], lam)
                if name in scaled:
                    own = answers[name].double() / self.temperatures[name]
                    values["nl_scaled"] = pair_values(scaled[name], own, lam)["nl"]
                for key, value in values.items():
                    found.setdefault(f"{name}/{key}", []).append(value)
            if self.is_pair:
                log_t, log_s = (answers[n].double().log_softmax(1) for n in ("teacher", "student"))
                found.setdefault("student/kl", []).append(kl(log_t, log_s))
                means.append(log_t.exp().sum(dim=0))
        kept = {name: torch.stack(values, dim=1).cpu() for name, values in found.items()}
        self._collected.append(kept | {"position": batch.position.cpu()})
        if means:
            total = torch.stack(means)
            self._teacher_sum = total if self._teacher_sum is None else self._teacher_sum + total

    def summary(self) -> tuple[dict[str, list[dict[str, Any]]], dict[str, float]]:
        """Return the rows of vicinal.csv by network, and the headline figures, over all processes.

        The figures are `<network>/nl_global` and so on; of a pair also what `alignment_metrics` and
        `gain_metrics` return, and of a lone network or a student its gains over the baselines.

        Raises:
            NotFinite: if a network's logits were not finite.
        """
        values = self.values()
        rows = {name: network_rows(own, self.lambdas) for name, own in values.items()}
        found: dict[str, float] = {}
        for name, own in rows.items():
            found |= {f"{name}/{key}": value for key, value in curve_metrics(own).items()}
        if self.is_pair:
            kl_, entropy = values["student"]["kl"], values["teacher"]["entropy"]
            aligned = alignment_rows(kl_, entropy, self.mean_teacher())
            for row, more in zip(rows["student"], aligned, strict=True):
                row.update(more)
            found |= alignment_metrics(aligned, self.lambdas)
            found |= gain_metrics(rows["teacher"], rows["student"])
        own = rows.get("student", rows.get("network", []))
        for name in self.networks.keys() - {"network", "student", "teacher"}:
            found |= gain_metrics(rows[name], own, against=name)
        return rows, dict(sorted(found.items()))

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
