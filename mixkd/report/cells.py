"""Cells: what is known of one quantity of one network, printed in a paper or measured here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import stdev
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from mixkd.report.table import Number


class Key(NamedTuple):
    """Names a quantity; printed and measured cells of one key stand for the same thing.

    Attributes:
        dataset: as the paper names it: cifar10, cifar100, imagenet.
        role: teacher or student.
        teacher: whose answers a student learns, or a teacher's own name, such as convnext_large;
            `NAME+mixup` where that teacher was itself trained with mixup; "" for a student that
            learns from labels.
        method: erm, mixup, kd or kd_mixup; of a teacher, how it was trained.
        temperature: 2, sigma and so on, as text; "" without a teacher's answers.
        metric: as in metrics.json, without the name of the network: test/accuracy,
            vicinal/train/nl_global, corruption/fog/3/accuracy.
    """

    dataset: str
    role: str
    teacher: str
    method: str
    temperature: str
    metric: str


class Subject(NamedTuple):
    """Whose quantities: a `Key` without the metric."""

    dataset: str
    role: str
    teacher: str = ""
    method: str = "erm"
    temperature: str = ""

    def key(self, metric: str) -> Key:
        """Return the key of one of its metrics."""
        return Key(*self, metric)


class Exclusion(BaseModel):
    """Networks that a reproduction goes without: those of which every key that is set holds.

    A teacher is left out with its students; `NAME+mixup` is one that was trained with mixup. In a
    method `*` stands for anything. With `seeds`, a network is there, but not its runs of those
    seeds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str | None = None
    teacher: str | None = None
    method: str | None = None
    temperatures: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None

    def holds(self, subject: Subject, seed: int | None = None) -> bool:
        """Return whether a network, or its run of a seed, is one of them."""
        name = subject.teacher
        if subject.role == "teacher" and subject.method == "mixup":
            name += "+mixup"
        return (
            self.dataset in (None, subject.dataset)
            and self.teacher in (None, name)
            and (self.method is None or fnmatchcase(subject.method, self.method))
            and (self.temperatures is None or subject.temperature in self.temperatures)
            and (self.seeds is None or seed in self.seeds)
        )


@dataclass(frozen=True)
class Cell:
    """The value of a quantity by seed, in fractions or nats; a printed number is that of seed 0.

    `half` is half a unit of the last printed digit, and `source` the artefact that prints it, such
    as table1; a measured value has 0 and "", and the directories of its `runs`.
    """

    by_seed: Mapping[int, float]
    half: float = 0.0
    source: str = ""
    runs: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return sum(self.by_seed.values()) / len(self.by_seed)

    def number(self, factor: float = 1) -> Number:
        """Return it times a factor as a number of a table, with its spread over seeds."""
        values = [factor * value for value in self.by_seed.values()]
        return Number(factor * self.mean, stdev(values) if len(values) > 1 else None, self.runs)

    @property
    def digits(self) -> int:
        """Digits after the point to show it with: the printed ones; four of a measured value."""
        return len(f"{2 * self.half:.9f}".rstrip("0")) - 2 if self.half else 4


# A printed quantity has as many cells as artefacts print it; a measured one has one.
Cells = Mapping[Key, Sequence[Cell]]
