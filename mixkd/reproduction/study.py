"""Artefacts, which are files of experiments/, and the runs of a study that feed them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from mixkd.config.shipped import artefacts, experiment
from mixkd.errors import UserError, nearest
from mixkd.report.cells import Subject
from mixkd.reproduction.scale import Scale


@dataclass(frozen=True)
class StudyRun:
    """A run that an artefact needs: a command with overrides, but for those that name other runs.

    By the keys that name them, `uses` has the runs that come first. `kind` is what it is for,
    training or an analysis; a public network's first evaluation stands for its training.
    """

    command: str
    overrides: tuple[str, ...]
    uses: tuple[tuple[str, "StudyRun"], ...] = ()
    subject: Subject = field(default_factory=lambda: Subject("", ""), kw_only=True)
    seed: int = field(default=0, kw_only=True)
    kind: str = field(default="training", kw_only=True)

    @property
    def job(self) -> tuple[Any, ...]:
        """What is to be run, whatever it is for: equal for equal runs."""
        return (self.command, self.overrides, tuple((key, used.job) for key, used in self.uses))

    @property
    def depth(self) -> int:
        """How many runs have to come before it, one after another."""
        return max((used.depth + 1 for _, used in self.uses), default=0)

    def with_those_before(self) -> Iterator["StudyRun"]:
        """Yield the runs that it uses, those that they use, and itself."""
        for _, used in self.uses:
            yield from used.with_those_before()
        yield self


class Study(Protocol):
    """What makes a paper's runs at one scale, such as experiments/paper/study.py."""

    @property
    def scale(self) -> Scale:
        """What stands for the paper's data, networks and lengths."""

    @property
    def more(self) -> Mapping[str, Sequence[str]]:
        """The user's own overrides, by command; they count last."""


@dataclass(frozen=True)
class Artefact:
    """A table or figure: a file of experiments/ with `runs` and `render`.

    Its title is the first line of the file's docstring, `about` what follows it.
    """

    name: str
    title: str
    about: str
    module: ModuleType

    @property
    def needs_runs(self) -> bool:
        """Whether runs feed it, rather than what `make` makes."""
        return not hasattr(self.module, "make")

    def runs(self, study: Study) -> list[StudyRun]:
        """Return the runs that feed it, of those that the scale does not leave out."""
        runs: Iterator[StudyRun] = self.module.runs(study)
        return [run for run in runs if not study.scale.leaves_out(run.subject, run.seed)]

    def make(self, study: Study, folder: Path) -> None:
        """Make what no run gives, in a folder, unless it is there; most artefacts have nothing."""
        if not self.needs_runs:
            self.module.make(study.scale, folder)


def load_artefact(name: str) -> Artefact:
    """Return an artefact by its name.

    Raises:
        UserError: if there is none of that name.
    """
    titles = artefacts()
    if name not in titles:
        takes = f"takes {', '.join(titles)}, all"
        raise UserError.of("artefact", f"got {name!r}{nearest(name, titles)}; {takes}")
    module = experiment(name)
    about = " ".join((module.__doc__ or "").partition("\n")[2].split())
    return Artefact(name, titles[name], about, module)


def merged(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return overrides, of those with one key the last one, where the first one stood."""
    return tuple({override.partition("=")[0]: override for override in overrides}.values())
