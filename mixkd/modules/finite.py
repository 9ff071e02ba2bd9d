"""Finding the first step at which something is not finite, without waiting for the device."""

from collections.abc import Mapping

import torch
from torch import Tensor

NEVER = 2**62


class FiniteWatch:
    """Remembers, for each thing that is watched, the first step at which it was not finite.

    The memory is on the device. A host that does not wait reads a copy, which on an accelerator may
    be of a few steps before: it learns of a fault late, but then of its first step.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._first: Tensor | None = None
        self._copy: Tensor | None = None

    def reset(self) -> None:
        """Forget everything, as when an epoch begins."""
        for memory in (self._first, self._copy):
            if memory is not None:
                memory.fill_(NEVER)

    def check(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Look at the values of a step: floats of any shape, under the same names at each.

        Steps are in order, and the causes of others come first among the names.
        """
        # A sum takes one pass, and is finite where all are, unless they are beyond any use.
        sums = torch.stack([value.detach().float().sum() for value in values.values()])
        if self._first is None:
            self._names = tuple(values)
            self._first = torch.full((len(sums),), NEVER, device=sums.device)
            cpu = sums.device.type == "cpu"
            self._copy = None if cpu else self._first.cpu().pin_memory()
        now = torch.where(sums.isfinite(), NEVER, step)
        torch.minimum(self._first, now, out=self._first)
        if self._copy is not None:
            self._copy.copy_(self._first, non_blocking=True)

    def fault(self, wait: bool = False) -> tuple[str, int] | None:
        """Return what was not finite first, and at which step; None if nothing is known to be.

        With `wait` it waits for the device, to know of every step so far.
        """
        memory = self._first if wait or self._copy is None else self._copy
        if memory is None:
            return None
        steps = memory.tolist()
        first = min(steps)
        return None if first == NEVER else (self._names[steps.index(first)], first)
