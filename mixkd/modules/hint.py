"""A hint: two networks' features are compared, at pairs of their layers."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import isclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from mixkd.errors import UserError
from mixkd.losses.hints import MADE_WITH, hint_of, usual_layers
from mixkd.modules.comparison import Compared, Comparison
from mixkd.networks.features import WORDS, Features, feature_shapes, layer_paths
from mixkd.parts import takes_argument

KEY = "hint"  # of a configuration


class Hint(nn.Module):
    """Compares the features of a student and its teacher; what it learns is not the student's.

    Args:
        comparison: the name of a hint, such as `rkd`; a function of both networks' features, which
            gives a scalar; or a class of such, made for the shapes of the features.
        student: gives logits.
        teacher: gives logits.
        student_layers: paths of modules, whose outputs are compared, or `stages`, `last_stage`,
            `middle_stage`, `penultimate`; None: the hint's own. Values are summed over the pairs.
        teacher_layers: as many, in the same order. Where words alone name them, and one network has
            more stages, its first are left out.
        image_size: height and width of the images, which a class needs.
        train_index: int64 [n], the positions of the training images in their data set; `crd` needs
            them.
        train_label: int64 [n], their classes.
        options: further arguments of the comparison.

    Raises:
        ValueError: if a network has no such layers, or the comparison is not made with these.

    Examples:
        >>> from mixkd import Distillation, Hint
        >>> student, teacher = (
        ...     nn.Sequential(nn.Conv2d(3, c, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * c, 5))
        ...     for c in (4, 8)
        ... )
        >>> hint = Hint("fitnet", student, teacher, student_layers=["1"], teacher_layers=["1"],
        ...             image_size=(8, 8))
        >>> module = Distillation(student, teacher, hint=hint, hint_weight=100.0)
    """

    def __init__(
        self, comparison: str | Callable[..., Any], student: nn.Module, teacher: nn.Module, *,
        student_layers: Sequence[str] | None = None, teacher_layers: Sequence[str] | None = None,
        image_size: Sequence[int] | None = None, train_index: Tensor | None = None,
        train_label: Tensor | None = None, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        function = hint_of(comparison) if isinstance(comparison, str) else comparison
        usual, self._is_joint = usual_layers(function)
        layers = pairs_of_layers(student, teacher, student_layers or usual, teacher_layers or usual)
        self._features = [
            Features(network, paths, KEY)
            for network, paths in zip((student, teacher), layers, strict=True)
        ]
        given: list[dict[str, Any]] = [{}] * (1 if self._is_joint else len(layers[0]))
        if isclass(function):
            if image_size is None:
                text = f"{KEY}: {function.__name__} is made for the shapes of features; takes "
                raise ValueError(text + "Hint(..., image_size=(height, width))")
            shapes = [
                feature_shapes(network, features, image_size)
                for network, features in zip((student, teacher), self._features, strict=True)
            ]
            pairs = [tuple(shapes)] if self._is_joint else zip(*shapes, strict=True)
            given = [dict(zip(MADE_WITH, (*pair, train_index, train_label), strict=True))
                     for pair in pairs]  # fmt: skip
        made = [made_of(function, options, of_pair) for of_pair in given]
        self._compared = [Compared(comparison, KEY) for comparison in made]
        self.learned = nn.ModuleList(c for c in made if isinstance(c, nn.Module))

    def forward(self, given: Mapping[str, Any]) -> Tensor:
        """Return the hint of what both networks answered last, a scalar.

        Args:
            given: what a comparison may take, by its name among GIVEN.

        Raises:
            Unfit: if a layer took no part in the answer, or a comparison gives no scalar.
        """
        values = [
            compared(student, teacher, given)
            for compared, (student, teacher) in zip(self._compared, self._taken(), strict=True)
        ]
        return torch.stack(values).sum()

    def try_out(self, given: Mapping[str, Any]) -> None:
        """Compare what both networks answered last, without any consequence.

        Raises:
            UserError: if a comparison fails, or gives nothing that a student can learn from.
        """
        for compared, (student, teacher) in zip(self._compared, self._taken(), strict=True):
            compared.try_out(student, teacher, given)

    def _taken(self) -> list[tuple[Any, Any]]:
        student, teacher = (features.taken() for features in self._features)
        return [(student, teacher)] if self._is_joint else list(zip(student, teacher, strict=True))


def made_of(
    function: Callable[..., Any], options: Mapping[str, Any], given: Mapping[str, Any]
) -> Comparison:
    """Return a function with its options; or what a class makes of them and of what it is given."""
    if not isclass(function):
        return partial(function, **options) if options else function
    taken = {name: value for name, value in given.items() if takes_argument(function, name)}
    comparison: Any = function(**taken, **options)
    return cast(Comparison, comparison)


def pairs_of_layers(
    student: nn.Module, teacher: nn.Module, student_layers: Sequence[str],
    teacher_layers: Sequence[str],
) -> tuple[list[str], list[str]]:  # fmt: skip
    """Return the paths of the layers that are compared, as many of each network.

    Raises:
        UserError: if a network has none such, or they are not as many.
    """
    of_student = layer_paths(student, student_layers, f"{KEY}.student_layers")
    of_teacher = layer_paths(teacher, teacher_layers, f"{KEY}.teacher_layers")
    count = min(len(of_student), len(of_teacher))
    if {*student_layers, *teacher_layers} <= {*WORDS}:
        return of_student[-count:], of_teacher[-count:]
    if len(of_student) != len(of_teacher) or not count:
        got = f"got {len(of_teacher)} beside {len(of_student)} of the student"
        raise UserError.of(f"{KEY}.teacher_layers", f"{got}; takes as many of each, 1 or more")
    return of_student, of_teacher
