"""Scales: what stands for a paper's data, networks and lengths; files in experiments/scales/."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mixkd.config.analyses import analysis_names, with_analyses
from mixkd.config.messages import schema_problems
from mixkd.config.shipped import experiments_dir
from mixkd.errors import Problem, UserError, nearest, shortened
from mixkd.files.reading import Damaged, read_value
from mixkd.networks.origin import is_trusted
from mixkd.report.cells import Exclusion, Subject

Overrides = list[str]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Dataset(_Section):
    """What stands for one of the paper's data sets: its name for people, and overrides.

    Those are of every training on it, of distillation alone, and of teachers by name, in place of
    the scale's.
    """

    name: str
    words: Overrides
    distill: Overrides = Field(default_factory=list)
    teachers: dict[str, Overrides] = Field(default_factory=dict)


class Teacher(_Section):
    """What stands for one of the paper's teachers: its name for people, and overrides.

    With `network.weights=FILE`, or `=pretrained`, it is not trained but taken as it is.
    """

    name: str
    words: Overrides


class Student(_Section):
    """The student: its name for people, its network, and overrides without the network's key."""

    name: str
    network: str
    words: Overrides = Field(default_factory=list)


@with_analyses(lambda _: (Overrides, Field(default_factory=list)))
class Settings(_Section):
    """A file of experiments/scales/: Hydra overrides; those of an analysis have its name.

    `teaching` is of every teacher's training, `learning` of every student's, `baseline` of students
    from labels alone; teachers have the first seed alone. Data sets and teachers go by the paper's
    names. `about` is a sentence for captions; `toy_epochs` are of Figure 2's toy problem.
    """

    about: str
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    datasets: dict[str, Dataset]
    teachers: dict[str, Teacher]
    student: Student
    leaves_out: list[Exclusion] = Field(default_factory=list)
    launch: Overrides = Field(default_factory=list)
    teaching: Overrides = Field(default_factory=list)
    learning: Overrides = Field(default_factory=list)
    baseline: Overrides = Field(default_factory=list)
    toy_epochs: Annotated[int, Field(ge=1)] = 40

    def overrides(self) -> Iterator[str]:
        """Yield every override in it."""
        for data in self.datasets.values():
            yield from chain(data.words, data.distill, *data.teachers.values())
        for teacher in self.teachers.values():
            yield from teacher.words
        yield from (f"network={self.student.network}", *self.student.words)
        yield from chain(self.launch, self.teaching, self.learning, self.baseline)
        yield from chain(*map(self.of_analysis, analysis_names()))

    def of_analysis(self, name: str) -> Overrides:
        """Return the overrides of an analysis."""
        overrides: Overrides = getattr(self, name)
        return overrides

    @model_validator(mode="after")
    def _leaves_out_what_there_is(self) -> "Settings":
        for left in self.leaves_out:
            teacher = (left.teacher or "").removesuffix("+mixup")
            for name, valid in ((left.dataset, self.datasets), (teacher, self.teachers)):
                if name and name not in valid:
                    close = nearest(name, valid)
                    raise ValueError(f"leaves_out: got {name!r}{close}; takes {', '.join(valid)}")
            if not left.model_fields_set:
                takes = ", ".join(Exclusion.model_fields)
                raise ValueError(f"leaves_out: got nothing; takes {takes}")
        return self


@dataclass(frozen=True)
class Scale:
    """A scale under a protocol: what its file holds, and the seeds of the students."""

    name: str
    protocol: str
    settings: Settings
    seeds: tuple[int, ...]

    def dataset(self, name: str) -> Dataset:
        """Return what stands for one of the paper's data sets."""
        self._refuse_without("datasets", name)
        return self.settings.datasets[name]

    def leaves_out(self, subject: Subject, seed: int) -> bool:
        """Return whether the scale goes without a network's run of a seed."""
        return any(left.holds(subject, seed) for left in self.settings.leaves_out)

    def training_overrides(self, dataset: str) -> Overrides:
        """Return what every training on a data set has."""
        return [f"protocol={self.protocol}", *self.dataset(dataset).words]

    def teacher(self, name: str) -> Teacher:
        """Return what stands for one of the paper's teachers."""
        self._refuse_without("teachers", name)
        return self.settings.teachers[name]

    def _refuse_without(self, section: str, name: str) -> None:
        names = getattr(self.settings, section)
        if name not in names:
            has = ", ".join(names) or "none"
            raise UserError.of("scale", f"{self.name} has no {section}.{name}; it has {has}")


def scale_names() -> list[str]:
    """Return the names of the shipped scales, the quickest first."""
    names = {path.stem for path in (experiments_dir() / "scales").glob("*.yaml")}
    usual = [name for name in ("smoke", "laptop", "paper") if name in names]
    return usual + sorted(names - set(usual))


def load_scale(
    name: str, protocol: str = "corrected", seeds: tuple[int, ...] = (), trust: Sequence[str] = ()
) -> Scale:
    """Return a scale by its name, or from a file of the same form.

    A file may be a stranger's: its overrides name callables of packages in `trust` alone. Without
    seeds, the students have those of the file.

    Raises:
        UserError: if there is no such scale, or its file is not of that form, or its words do
            more than say what is trained, how and on what.
    """
    path, names = experiments_dir() / "scales" / f"{name}.yaml", scale_names()
    if is_file := name.endswith((".yaml", ".yml")):
        path = Path(os.path.expanduser(name))
    if not (path.is_file() if is_file else name in names):
        text = f"got {name!r}; takes {', '.join(names)}, or a .yaml file{nearest(name, names)}"
        raise UserError.of("scale", text)
    if protocol not in ("corrected", "parity"):
        close = nearest(protocol, ["corrected", "parity"])
        raise UserError.of("protocol", f"got {protocol!r}; takes corrected, parity{close}")
    try:
        # The user has named it: it may be a link.
        raw = read_value(path, Path(os.path.realpath(path)).parent)
    except Damaged as error:
        raise UserError.of("scale", f"{path} is no scale: {error.why}") from error
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        first = str(schema_problems(Settings, raw, error)[0]).removeprefix(": ")
        raise UserError.of("scale", f"{path} is no scale: {first}") from error
    strange = settings.overrides() if is_file else ()  # of what is shipped all is known
    if faults := [fault for override in strange for fault in _acts(override, trust)]:
        raise UserError(*(Problem("scale", f"{path}: {fault}") for fault in dict.fromkeys(faults)))
    # In order: "the first seed" is one and the same wherever a single one is shown.
    return Scale(path.stem, protocol, settings, tuple(sorted(seeds or settings.seeds)))


# Keys by which an override would do more: what Hydra reads, lines of shell, the trust itself.
REFUSED = re.compile(r"hydra\b.*|launcher\.setup|trust|run(\..*)?|data\.cache_dir|logger(\..*)?")


def _acts(override: str, trust: Sequence[str]) -> Iterator[str]:
    """Yield what a stranger's override would do beyond setting plain values."""
    got = f"got {shortened(override)!r}"
    # Hydra takes backslashes away. ${a.b} is the value of another key; anything else is called.
    if "${" in re.sub(r"\$\{[\w.]+\}", "", override.replace("\\", "")):
        yield f"{got}; a file's words may refer to other keys alone, ${{KEY}}"
        return
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        return  # whoever composes it says what is wrong
    key = parsed.key_or_group
    acting = [path for path in _paths(key, parsed.value()) if REFUSED.fullmatch(path)]
    if acting or parsed.package is not None:
        path = acting[0] if acting else f"{key}@{parsed.package}"
        yield f"{got}; {shortened(path)} is for the command line to say"
    elif parsed.is_sweep_override():
        yield f"{got}; takes one value"
    elif "." not in key and ".." in re.split(r"[^\w.-]", str(parsed.value())):
        yield f"{got}; takes a name"  # Hydra would read a file of another folder
    else:
        for factory in _factories(key.rpartition(".")[2], parsed.value()):
            if not is_trusted(factory, list(trust)):
                package = shortened(str(factory).partition(".")[0])
                yield f"{got}, which names a callable; trust=[{package}] if you trust its package"


def _paths(key: str, value: Any) -> Iterator[str]:
    """Yield a key, and those that a mapping sets below it."""
    yield key
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths(f"{key}.{name}", inner)


def _factories(key: str, value: Any) -> Iterator[Any]:
    """Yield the callables that a value names, at whatever depth."""
    if key == "factory" and value is not None:
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _factories(str(name), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _factories(key, inner)
