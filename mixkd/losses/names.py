"""Losses by their names: each is a file of a package, with a function or a class of its name."""

from collections.abc import Callable, Iterable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from mixkd.errors import nearest


def loss_of(package: str, path: Iterable[str], name: str, kind: str) -> Callable[..., Any]:
    """Return the function or class that a file of a package is named after, whatever its capitals.

    Args:
        package: its dotted name.
        path: its folders.
        name: of the file.
        kind: what such a loss is called in messages.

    Raises:
        ValueError: if there is no file of that name.
    """
    names = [module.name for module in iter_modules(path)]
    if name not in names:
        raise ValueError(f"got {kind} {name!r}; takes {', '.join(names)}{nearest(name, names)}")
    defined = vars(import_module(f"{package}.{name}"))
    loss: Callable[..., Any] = {key.lower(): value for key, value in defined.items()}[name]
    return loss
