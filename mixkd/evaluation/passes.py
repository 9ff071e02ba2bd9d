"""A LightningModule that shows the batches of a test to whoever measures something of them."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from lightning.pytorch import LightningModule
from torch import nn

R = TypeVar("R")


class Passes(LightningModule, Generic[R]):
    """One pass over the images of a test.

    Args:
        parts: networks and metrics, which follow to the device.
        update: is given each batch.
        compute: gives `result`, after the last batch.
    """

    result: R

    def __init__(
        self,
        parts: Iterable[nn.Module],
        update: Callable[[Any], None],
        compute: Callable[[], R],
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self._update, self._compute = update, compute

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Hand a batch on."""
        self._update(batch)

    def on_test_epoch_end(self) -> None:
        """Compute the result: here, as metrics are still where processes can share them."""
        self.result = self._compute()
