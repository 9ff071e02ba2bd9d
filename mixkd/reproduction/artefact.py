"""Artefacts: the files of experiments/ that say how a table or figure is made."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mixkd.config.shipped import artefacts, experiment
from mixkd.errors import UserError, nearest
from mixkd.reproduction.study import Study, StudyRun


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
