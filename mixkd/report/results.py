"""What runs say of each network: cells, and notes on what is missing or wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from statistics import mean

from mixkd.config.analyses import analysis_names, prefix_of
from mixkd.evaluation.analysis import analysis_of
from mixkd.files.layout import HISTORY
from mixkd.metrics.paired import Predictions
from mixkd.report.cells import Cell, Key, Subject
from mixkd.report.plan import Expected, Reproduction
from mixkd.report.table import Number
from mixkd.runs.read import FoundRun

Slot = tuple[Subject, int, str]  # whose, seed, kind


@dataclass(frozen=True)
class Results:
    """Runs by what they are of: the finished run of each slot, and those that are planned.

    `all_runs` has those that count for nothing too; `notes` say what is wrong with a slot, a line
    each, and `asides` what else a reader has to know of a subject.
    """

    all_runs: Sequence[FoundRun]
    reproduction: Reproduction | None = None
    slots: Mapping[Slot, FoundRun] = field(default_factory=dict)
    expected: Mapping[Slot, Expected] = field(default_factory=dict)
    notes: Mapping[Slot, Sequence[str]] = field(default_factory=dict)
    asides: Mapping[Subject, str] = field(default_factory=dict)

    @cached_property
    def subjects(self) -> list[Subject]:
        """Those of which anything is known or planned, in the order in which they were met."""
        return list(dict.fromkeys(s for s, _, _ in (*self.expected, *self.slots)))

    def is_left_out(self, subject: Subject) -> bool:
        """Return whether the scale leaves a network out."""
        return self.reproduction is not None and self.reproduction.goes_without(subject)

    def seeds(self, subject: Subject, kind: str = "training") -> list[int]:
        """Return the seeds of which there is a finished run."""
        return sorted(seed for s, seed, k in self.slots if s == subject and k == kind)

    def runs(self, subject: Subject, kind: str = "training") -> dict[int, FoundRun]:
        """Return the finished runs by seed."""
        return {seed: self.slots[subject, seed, kind] for seed in self.seeds(subject, kind)}

    def predictions(self, subject: Subject) -> dict[int, Predictions]:
        """Return the predictions on the test images by seed, of the runs that have any."""
        predictions = {seed: run.predictions for seed, run in self.runs(subject).items()}
        return {seed: arrays for seed, arrays in predictions.items() if arrays is not None}

    @cached_property
    def cells(self) -> dict[Key, list[Cell]]:
        """Every measured quantity."""
        return self._cells(self.slots)

    @cached_property
    def sound_cells(self) -> dict[Key, list[Cell]]:
        """Every quantity that was measured by a run of which nothing is known to be wrong."""
        return self._cells({slot: r for slot, r in self.slots.items() if not self.notes.get(slot)})

    @cached_property
    def _quantities(self) -> dict[Slot, dict[str, float]]:
        return {slot: quantities(run, slot[2]) for slot, run in self.slots.items()}

    def _cells(self, slots: Mapping[Slot, FoundRun]) -> dict[Key, list[Cell]]:
        """Return every quantity of some runs, over seeds."""
        runs: dict[Key, dict[int, tuple[float, str]]] = {}
        for (subject, seed, kind), run in slots.items():
            for metric, value in self._quantities[subject, seed, kind].items():
                runs.setdefault(subject.key(metric), {})[seed] = (value, run.path)
        return {
            key: [
                Cell(
                    {seed: value for seed, (value, _) in sorted(by_seed.items())},
                    runs=tuple(path for _, path in by_seed.values()),
                )
            ]
            for key, by_seed in runs.items()
        }

    def cell(self, subject: Subject, metric: str) -> Cell | None:
        """Return a measured quantity, or None."""
        return next(iter(self.cells.get(subject.key(metric), ())), None)

    def number(self, subject: Subject, metric: str, factor: float = 1) -> Number | None:
        """Return a measured quantity times a factor, with its spread over seeds, or None."""
        cell = self.cell(subject, metric)
        return None if cell is None else cell.number(factor)

    def remarks(self, subject: Subject, kind: str = "training") -> str:
        """Return what a reader of a row has to know: seeds that lack, numbers that cannot be."""
        remarks: list[str] = []
        planned = sorted(seed for s, seed, k in self.expected if s == subject and k == kind)
        finished = self.seeds(subject, kind)
        lacking = [seed for seed in planned if seed not in finished]
        if not finished:
            absent = "left out of this scale" if self.is_left_out(subject) else "no run"
            remarks.append("missing" if planned else absent)
        elif lacking:
            remarks.append(f"missing: seed {', '.join(map(str, lacking))}")
        if len(finished) == 1:
            remarks.append("one seed")
        seeds = sorted({*planned, *finished})
        for seed in seeds:
            remarks += [
                f"seed {seed}: {note}" if len(seeds) > 1 else note
                for note in self.notes.get((subject, seed, kind), ())
            ]
        runs = self.runs(subject, kind).values()
        if len({run.images for run in runs} - {""}) > 1:
            remarks.append("its runs are of different images")
        if kind == "training" and len({run.setting for run in runs}) > 1:
            remarks.append("its seeds are of different experiments")
        if subject in self.asides:
            remarks.append(self.asides[subject])
        return "; ".join(remarks)

    def faults(self, artefact: str = "") -> list[str]:
        """Return what is missing or wrong of an artefact's runs, or of all, a line each.

        A run that is missing comes with the command that makes it.
        """
        slots = {
            slot for slot, run in self.expected.items() if not artefact or artefact in run.artefacts
        }
        missing = [
            f"missing: {slot_title(slot)}: `{run.command}`"
            for slot, run in self.expected.items()
            if slot in slots and slot not in self.slots
        ]
        wrong = [
            f"{slot_title(slot)}: {note}"
            for slot, notes in self.notes.items()
            if slot in slots or not (artefact or self.expected)
            for note in notes
        ]
        return missing + wrong


def quantities(run: FoundRun, kind: str) -> dict[str, float]:
    """Return what a run of a kind says of the network that it is of, without that network's name.

    Of a training also the mean held-out accuracy over its first tenth of epochs, the rest of its
    first half, and its second half.
    """
    if kind != "training":
        prefix = prefix_of(kind)
        values = {name: value for name, value in run.metrics.items() if name.startswith(prefix)}
        if kind in analysis_names():
            values = analysis_of(kind).derived(run) | values
        return {
            "/".join(part for part in name.split("/") if part not in ("student", "network")): value
            for name, value in values.items()
        }
    values = {name: value for name, value in run.metrics.items() if name.startswith("test/")}
    epochs = [row.get("val/accuracy") for row in run.rows(HISTORY)]
    accuracy = [value for value in epochs if isinstance(value, float) and isfinite(value)]
    tenth, half = max(1, len(accuracy) // 10), max(1, len(accuracy) // 2)
    parts = {"early": accuracy[:tenth], "middle": accuracy[tenth:half], "late": accuracy[half:]}
    return values | {f"curve/{name}_accuracy": mean(part) for name, part in parts.items() if part}


def title(subject: Subject) -> str:
    """Return a subject in words."""
    parts = [subject.dataset, subject.role, subject.method]
    parts += [f"from {subject.teacher}"] if subject.role == "student" and subject.teacher else []
    parts += [subject.teacher] if subject.role == "teacher" else []
    parts += [f"T = {subject.temperature}"] if subject.temperature else []
    return " ".join(parts)


def slot_title(slot: Slot) -> str:
    """Return whose run a slot is for, in words."""
    subject, seed, kind = slot
    return f"{title(subject)}, seed {seed}, {kind}"
