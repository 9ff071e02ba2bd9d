"""The sections of what `mixkd evaluate` measures beside calibration.

An analysis is two files of one name: mixkd/evaluation/NAME.py and conf/analysis/NAME.yaml. Nothing
else names it: this module finds its section, and what follows from keys alone is asked of that.

So this is the one place where a lower room takes from a higher one, in `defined_in`: a schema needs
the sections of all analyses. Their files import nothing but lower rooms until they are at work.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, create_model

from mixkd.config.data import CorruptedDataConfig, DataConfig
from mixkd.config.fields import Flag, Section
from mixkd.config.shipped import group_names
from mixkd.errors import Problem

HOME = "mixkd.evaluation"

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class AnalysisConfig(Section):
    """The keys of an analysis, and what follows from them alone."""

    order: ClassVar[int] = 100  # among the others; of equal ones the names count
    prefix: ClassVar[str]  # of the names of its metrics
    files: ClassVar[tuple[str, ...]] = ()  # in a run directory, beside figures
    # Of its CSV files the texts and the numbers that every row holds; of its npz files the arrays
    # that a report shows.
    columns: ClassVar[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {}
    arrays: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # What it asks teachers and baselines too, as "is asked ..." ends; "" where it does not.
    shared_question: ClassVar[str] = ""
    is_for_baselines: ClassVar[bool] = False  # where no analysis that asks them is chosen
    is_drawn: ClassVar[bool] = False  # by artefacts, so that a report needs no plain table

    enabled: Flag

    @classmethod
    def contradictions(cls, keys: Mapping[str, Any], raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what no single key can know, where the analysis is asked for.

        Its own `keys` and the whole configuration are of any type: the schema checks those.
        """
        yield from ()

    def identity(self, keys: dict[str, Any]) -> dict[str, Any]:
        """Return what of its keys counts in the name of a run that asks for it; by default all."""
        return keys

    def further_data(self, data: DataConfig) -> Iterator[CorruptedDataConfig]:
        """Yield data of its own, by whose content a run is named; by default there is none."""
        yield from ()

    @classmethod
    def are_sound(cls, arrays: Mapping[str, Any]) -> bool:
        """Return whether a file's arrays, by name, have shapes, kinds and values that it writes."""
        return True

    @abstractmethod
    def forward_images(self, sizes: Mapping[str, int]) -> float:
        """Return how many images a network answers, from those in `train`, `val` and `test`."""


@cache
def analysis_names() -> tuple[str, ...]:
    """Return the names of all analyses, in order."""
    names = group_names("analysis")
    return tuple(sorted(names, key=lambda name: (section_of_analysis(name).order, name)))


@cache
def section_of_analysis(name: str) -> type[AnalysisConfig]:
    """Return the class of an analysis's section, by the analysis's name."""
    return defined_in(name, AnalysisConfig)  # type: ignore[type-abstract]


def prefix_of(name: str) -> str:
    """Return what the names of an analysis's metrics begin with, also of one of a user's own."""
    return section_of_analysis(name).prefix if name in analysis_names() else f"{name}/"


def defined_in(name: str, base: type[T]) -> type[T]:
    """Return the one class that the file of an analysis derives from another one."""
    module = import_module(f"{HOME}.{name}")
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    derived = [c for c in classes if issubclass(c, base) and c.__module__ == module.__name__]
    if len(derived) != 1:
        raise TypeError(f"{module.__file__} takes one {base.__name__}; it has {len(derived)}")
    return derived[0]


def with_analyses(field: Callable[[str], Any]) -> Callable[[type[M]], type[M]]:
    """Return a decorator that gives a section a field for each analysis, under its name.

    `field` maps the name to what `pydantic.create_model` takes: type and default.
    """

    def extended(section: type[M]) -> type[M]:
        return create_model(
            section.__name__,
            __base__=section,
            __doc__=section.__doc__,
            __module__=section.__module__,
            **{name: field(name) for name in analysis_names()},
        )

    return extended


def analysis_files() -> tuple[str, ...]:
    """Return the names of all files that analyses write into run directories."""
    return tuple(file for name in analysis_names() for file in section_of_analysis(name).files)
