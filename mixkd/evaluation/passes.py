"""A LightningModule that shows the batches of a test to whoever measures something of them."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from lightning.pytorch import LightningModule, Trainer
from torch import nn

from mixkd.data.module import ImageDataModule

R = TypeVar("R")


def run_pass(
    trainer: Trainer,
    data: ImageDataModule,
    parts: Iterable[nn.Module],
    update: Callable[[Any], None],
    compute: Callable[[], R],
) -> R:
    """Show every batch of what `data` tests, and return what is computed of them.

    Args:
        trainer: where to compute.
        data: its `tested` split, or its pairs of images.
        parts: networks and metrics, which are moved to where the batches are.
        update: is given each batch, without gradients, while the networks are in eval mode.
        compute: is called after the last batch, in every process.
    """
    module = _Passes(parts, update, compute)
    trainer.test(module, data, verbose=False)
    return module.result


class _Passes(LightningModule, Generic[R]):
    result: R

    def __init__(
        self, parts: Iterable[nn.Module], update: Callable[[Any], None], compute: Callable[[], R]
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self._update, self._compute = update, compute

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._update(batch)

    def on_test_epoch_end(self) -> None:
        """Compute the result here, as metrics are still where processes can share them."""
        self.result = self._compute()
