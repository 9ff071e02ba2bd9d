"""Hints by name: how the features of a student, or their relations, are compared with a teacher's.

Each is a file of its name here, with a function of that name: f(student, teacher, ...) of the
features of one layer each that gives a scalar; or a class, `FitNet` of `fitnet`, that is made with
those of MADE_WITH that it takes, and then called like that. Of what divergences may be GIVEN it is
called with those that its signature takes. LAYERS in the file says which layers it compares where
none are asked for; the values of several pairs of layers are summed, or it is called once, with
lists of features, where the file says JOINT. A user's own file may say both as well.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from mixkd.losses.names import loss_of

# What a class may be made with, by name: the shapes of one image's features, (channels, height,
# width) or (features,), or lists of them where it is JOINT; and positions in their data set and
# classes of the training images, int64 [n].
MADE_WITH = ("student_shape", "teacher_shape", "train_index", "train_label")


def hint_of(name: str) -> Callable[..., Any]:
    """Return a hint, a function or a class, by its name.

    Args:
        name: such as `rkd`.

    Raises:
        ValueError: if there is none.

    Examples:
        >>> import torch
        >>> features = torch.rand(4, 16)
        >>> hint_of("sp")(features, features).item()
        0.0
    """
    return loss_of(__name__, __path__, name, "hint")


def usual_layers(hint: Callable[..., Any]) -> tuple[tuple[str, ...], bool]:
    """Return the LAYERS of a hint's file, before the last ones without them, and whether JOINT.

    Examples:
        >>> usual_layers(hint_of("reviewkd"))
        (('stages', 'penultimate'), True)
    """
    while isinstance(hint, partial):
        hint = hint.func
    module = sys.modules.get(getattr(hint, "__module__", type(hint).__module__))
    layers = getattr(module, "LAYERS", ("penultimate",))
    return tuple(layers), bool(getattr(module, "JOINT", False))
