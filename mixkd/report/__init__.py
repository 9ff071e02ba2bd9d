"""From run directories to tables and figures. Needs no torch.

Examples:
    >>> import mixkd
    >>> # page = mixkd.report("runs")
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """This package, which can be called.

    Once a part of it is imported, Python gives its name in `mixkd` to the package, in the place of
    the function `mixkd.report`.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from mixkd import notebook

        return notebook.report(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
