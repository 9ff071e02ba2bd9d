"""What compares two networks: functions of logits or features, given what they take by name."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mixkd.errors import Unfit, UserError, check_that, first_line
from mixkd.losses.divergences import GIVEN
from mixkd.parts import parameters_of, takes_argument

# f(student, teacher, ...) -> a scalar, of logits or of features; it is given those of GIVEN by name
# that its signature takes.
Comparison = Callable[..., Tensor]


def name_of(comparison: Comparison) -> str:
    """Return what a function is called, or the class of what is called like one."""
    function = comparison.func if isinstance(comparison, partial) else comparison
    return str(getattr(function, "__name__", type(function).__name__))


def taken_by(comparison: Comparison) -> tuple[str, ...]:
    """Return the names among GIVEN that a function, or a module's `forward`, takes."""
    called = comparison.forward if isinstance(comparison, nn.Module) else comparison
    names = tuple(name for name in GIVEN if takes_argument(called, name))
    # Whoever takes anything does not say that it multiplies by T squared itself.
    by_name = parameters_of(called) or {}
    return tuple(name for name in names if name != "t_squared" or name in by_name)


class Compared:
    """A comparison that is called with what it takes.

    Args:
        comparison: a function of two networks' logits or features.
        key: the configuration key that gives it, for messages.

    Raises:
        ValueError: if it cannot be called.
    """

    def __init__(self, comparison: Comparison, key: str) -> None:
        check_that(key, comparison, callable, "a name, a function, or None")
        self.comparison, self._key = comparison, key
        self.takes = taken_by(comparison)

    def __call__(self, student: Any, teacher: Any, given: Mapping[str, Any]) -> Tensor:
        """Return how far what two networks give of a batch is apart, a scalar.

        It is computed in the numbers of what is compared, under autocast too.

        Raises:
            Unfit: if the comparison gives no scalar.
        """
        device = (student[0] if isinstance(student, list) else student).device.type
        with torch.autocast(device, enabled=False):
            value = self.comparison(student, teacher, **{name: given[name] for name in self.takes})
        return checked_scalar(value, self._key, f"{name_of(self.comparison)} gives").float()

    def try_out(self, student: Any, teacher: Any, given: Mapping[str, Any]) -> None:
        """Compare what two networks give of a batch, without any consequence.

        Raises:
            UserError: if that fails, or gives nothing that a student can learn from.
        """
        name, comparison = name_of(self.comparison), self.comparison
        if isinstance(comparison, nn.Module):  # which may keep something of it
            comparison = deepcopy(comparison)
        try:
            value = Compared(comparison, self._key)(student, teacher, given)
        except UserError:
            raise
        except Exception as error:  # whatever a user's function does
            text = f"{name} fails when it is called: {first_line(error)}"
            raise UserError.of(self._key, text) from error
        if not value.requires_grad:
            text = f"{name} gives a number from which no gradient leads back to the student"
            raise UserError.of(self._key, f"{text}; takes operations of torch on its tensors")
        if not value.isfinite():
            raise UserError.of(self._key, f"{name} gives {value.item()} for random networks")


def checked_scalar(value: Any, key: str, what: str) -> Tensor:
    """Return a scalar tensor.

    Raises:
        Unfit: of a configuration's `key`, where `what` says who gives it, if it is no such one.
    """
    if isinstance(value, Tensor) and not value.ndim:
        return value
    kind = type(value).__name__
    got = f"{kind} of shape {list(value.shape)}" if isinstance(value, Tensor) else kind
    raise Unfit.of(key, f"{what} a {got}; takes a scalar tensor, such as the mean over a batch")
