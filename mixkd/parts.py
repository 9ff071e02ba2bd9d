"""Callables by their dotted paths: imported, held against their arguments, called."""

import os
import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from importlib import import_module
from inspect import Parameter, getsourcefile, isclass, signature, unwrap
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate

from mixkd.config.parts import PartConfig, factories
from mixkd.errors import Problem, UserError, first_line, nearest, shortened

# What a callable raises where its arguments do not fit it.
FAILURES = (TypeError, ValueError, AttributeError, LookupError, RuntimeError, AssertionError,
            OSError)  # fmt: skip


POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def import_callable(path: str, key: str) -> Callable[..., Any]:
    """Import `package.module.function`, or a class or what it holds, which `key` gives.

    The working folder is looked through last.

    Raises:
        UserError: if there is no such callable.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a console script does not look there by itself
    names = path.split(".")
    for count in range(len(names) - 1, 0, -1):
        module = ".".join(names[:count])
        try:
            found: Any = import_module(module)
            for name in names[count:]:
                found = getattr(found, name)
        except ModuleNotFoundError as error:
            if count > 1 and error.name and f"{module}.".startswith(f"{error.name}."):
                continue  # a class may hold it
            text = f"got {path!r}; takes package.module.function ({error})"
            raise UserError.of(key, text) from error
        except (ImportError, AttributeError, ValueError) as error:
            public = [name for name in vars(sys.modules.get(module, sys)) if name[0] != "_"]
            close = nearest(names[count], public) if isinstance(error, AttributeError) else ""
            text = f"got {path!r}; takes package.module.function ({error}){close}"
            raise UserError.of(key, text) from error
        except Exception as error:  # whatever a user's module does when it is imported
            text = f"got {path!r}, of which {module} fails when it is imported: {first_line(error)}"
            raise UserError.of(key, text) from error
        if not callable(found):
            raise UserError.of(key, f"{path} is no callable")
        function: Callable[..., Any] = found
        return function
    raise UserError.of(key, f"got {path!r}; takes package.module.function")


def parameters_of(function: Callable[..., Any]) -> Mapping[str, Parameter] | None:
    """Return the parameters of a callable; None where it does not tell."""
    try:
        return signature(function).parameters
    except (TypeError, ValueError):
        return None


def takes_argument(function: Callable[..., Any], name: str) -> bool:
    """Return whether a callable takes a keyword argument, or any, or does not tell.

    One that a `partial` gives already is not taken.
    """
    if isinstance(function, partial) and name in function.keywords:
        return False
    parameters = parameters_of(function)
    if parameters is None or any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values()):
        return True
    return name in parameters and parameters[name].kind is not Parameter.POSITIONAL_ONLY


def named_arguments(
    function: Callable[..., Any], path: str, args: Mapping[str, Any], key: str, *,
    positional: int = 0, offered: Mapping[str, Any] | Collection[str] = (),
) -> None:  # fmt: skip
    """Hold arguments against the signature of a callable.

    Args:
        function: the callable.
        path: what it is called in messages.
        args: the user's keyword arguments.
        key: the section that gives them.
        positional: how many arguments are given before them.
        offered: names of arguments that mixkd gives where they are taken and not among `args`.

    Raises:
        UserError: for each argument that is not taken, and for those that are lacking.
    """
    parameters = parameters_of(function)
    if parameters is None:
        return
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    taken = [name for name, p in parameters.items() if p.kind in kinds]
    first = [n for n, p in parameters.items() if p.kind is not Parameter.KEYWORD_ONLY][:positional]
    free = [name for name in taken if name not in first]
    takes_any = any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
    problems = [
        Problem(
            f"{key}.args.{name}",
            f"{path} has no such argument{nearest(str(name), free)}; "
            f"takes {', '.join(free) or 'none'}",
        )
        for name in args
        if name in first or (name not in taken and not takes_any)
    ]
    lacking = [
        name
        for name in free
        if parameters[name].default is Parameter.empty and name not in (*args, *offered)
    ]
    if lacking:
        text = f"{path} needs {', '.join(lacking)}; takes {', '.join(free)}"
        if offered:
            text += f"; mixkd gives {', '.join(offered)} by name"
        problems.append(Problem(f"{key}.args", text))
    if problems:
        raise UserError(*problems)


def made(part: PartConfig, key: str, *positional: Any, **offered: Any) -> Any:
    """Call a part's factory with its arguments, and return what it gives.

    Arguments with a `_target_` of their own are made first, as Hydra does. `offered` arguments are
    passed where the factory takes them by name and the user gives none.

    Raises:
        UserError: if there is no such callable, or it does not take these arguments.
    """
    return _called(part, key, positional, offered, passes_on=False)


def made_with(part: PartConfig, key: str, *positional: Any, **given: Any) -> Any:
    """Call a part's factory as `made` does, also with `given` that it takes by `**options` alone.

    So a subclass does, which hands them on.
    """
    return _called(part, key, positional, given, passes_on=True)


def _called(
    part: PartConfig, key: str, positional: tuple[Any, ...], offered: Mapping[str, Any],
    passes_on: bool,
) -> Any:  # fmt: skip
    function = import_callable(part.factory, f"{key}.factory")
    named_arguments(
        function, part.factory, part.args, key, positional=len(positional), offered=offered
    )
    parameters = parameters_of(function) or {}
    passes_on &= any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
    args = {name: value for name, value in offered.items() if name in parameters or passes_on}
    args |= arguments(part.args, f"{key}.args")
    try:
        return function(*positional, **args)
    except UserError:
        raise
    except FAILURES as error:
        text = f"{part.factory} fails with {shortened(str(part.args))}: {first_line(error)}"
        raise UserError.of(f"{key}.args", text) from error


def arguments(args: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return arguments, those with a `_target_` of their own made, as Hydra makes them."""
    if not any(factories(args, "args")):
        return dict(args)
    try:
        return dict(instantiate(dict(args), _convert_="all"))
    except HydraException as error:
        raise UserError.of(key, " ".join(str(error.__cause__ or error).split())) from error


def function_of(part: PartConfig, key: str, count: int, *, offered: Collection[str]) -> Any:
    """Return what is called later: a function with a part's arguments, or what a class makes.

    A function that needs `count` arguments first, which the user does not give, is the one that is
    called; anything else, as a class or a function that returns a function, makes it.

    Args:
        part: the callable and its arguments.
        key: the section that gives them.
        count: how many arguments are given first, by position.
        offered: names of what may be given beside them.

    Raises:
        UserError: if there is no such callable, or it does not take these arguments.
    """
    function = import_callable(part.factory, f"{key}.factory")
    first = [*(parameters_of(function) or {}).values()][:count]
    is_called = len(first) == count and not any(
        p.name in part.args or p.default is not Parameter.empty or p.kind not in POSITIONAL
        for p in first
    )
    if isclass(function) or not is_called:
        later = made(part, key)
        if not callable(later):
            text = f"{part.factory} gives {type(later).__name__}, which cannot be called"
            raise UserError.of(f"{key}.factory", text)
        return later
    if ours := [name for name in offered if name in part.args]:
        text = f"mixkd gives {ours[0]} itself; leave it out, or give the parameter another name"
        raise UserError.of(f"{key}.args.{ours[0]}", text)
    named_arguments(function, part.factory, part.args, key, positional=count, offered=offered)
    return partial(function, **arguments(part.args, f"{key}.args"))


def source_of(path: str, key: str) -> Path | None:
    """Return the file that defines a callable; None where there is none, as of built-in ones.

    Raises:
        UserError: if there is no such callable.
    """
    function = unwrap(import_callable(path, key))
    try:
        file = getsourcefile(function)
    except TypeError:
        return None
    return None if file is None or not os.path.isfile(file) else Path(file).resolve()
