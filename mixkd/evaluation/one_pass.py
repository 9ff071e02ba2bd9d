"""One pass over what is tested, in which whoever measures something of it sees every batch."""

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
    """Show every batch of what `data` tests, a split or its pairs; return what is computed of them.

    `parts`, networks and metrics, are moved to where the batches are. `update` is given each batch,
    without gradients, while the networks are in eval mode; `compute` is called after the last one,
    in every process.
    """
    module = _Pass(parts, update, compute)
    trainer.test(module, data, verbose=False)
    return module.result


class _Pass(LightningModule, Generic[R]):
    mixing = None  # by which data know that it takes their own batches
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
