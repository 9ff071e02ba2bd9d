"""Parts of artefacts: measured beside printed numbers, calibration, paired differences."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mixkd.config.tasks import TRAININGS
from mixkd.metrics.paired import are_paired, paired_differences
from mixkd.report.cells import Cells, Subject
from mixkd.report.results import Results
from mixkd.report.table import NOTES, SEEDS, Column, Number, Table, Value
from mixkd.runs.read import FoundRun

from .feasible import infeasible
from .reference import Reference

DRAWS = 1000  # of the bootstrap, over images

PAIRED = (
    "Intervals: 1,000 bootstrap samples of the test images; they say nothing of other seeds. p: "
    "McNemar's exact test of one seed each, of several seeds by the bootstrap, 0.002 at least. "
    "Noise alone makes an ECE: see its noise floor before its difference."
)


@dataclass(frozen=True)
class Comparison:
    """What was measured beside what an artefact prints.

    Attributes:
        results: what was measured.
        reference: what the paper prints.
        artefact: whose printed numbers count.
    """

    results: Results
    reference: Reference
    artefact: str

    @property
    def printed(self) -> Cells:
        """The artefact's printed numbers."""
        is_printed = self.artefact in self.reference.artefacts
        return self.reference.cells_of(self.artefact) if is_printed else {}

    def measured(self, subject: Subject, metric: str, factor: float = 1) -> Number | None:
        """Return a measured quantity times a factor, with its spread over seeds."""
        return self.results.number(subject, metric, factor)

    def as_printed(
        self, subject: Subject, metric: str, factor: float = 1, digits: int = 4
    ) -> Value:
        """Return a printed number times a factor; where there are several, as text; or None."""
        cells = self.printed.get(subject.key(metric), ())
        values = list(dict.fromkeys(cell.mean * factor for cell in cells))
        if len(values) > 1:
            return " or ".join(f"{value:.{digits}f}" for value in values)
        if not values:
            return None
        places = cells[0].digits - round(math.log10(factor))
        return Number(round(values[0], places), digits=places)

    def first(self, subject: Subject, metric: str, factor: float = 1) -> Number | None:
        """Return a quantity of the first seed alone, times a factor."""
        cell = self.results.cell(subject, metric)
        if cell is None:
            return None
        return Number(factor * next(iter(cell.by_seed.values())), runs=cell.runs[:1])

    def both(
        self, subject: Subject, quantities: Mapping[str, tuple[str, float, int]]
    ) -> dict[str, Value]:
        """Return measured and printed values of a row.

        Args:
            subject: whose.
            quantities: name of the column -> metric, factor, digits of what is printed.
        """
        row: dict[str, Value] = {}
        for name, (metric, factor, digits) in quantities.items():
            row[name] = self.measured(subject, metric, factor)
            row[f"{name}_printed"] = self.as_printed(subject, metric, factor, digits)
        return row

    def printed_here(self, subject: Subject, metric: str) -> float | None:
        """Return a printed number where it is of the same data as ours, to be drawn beside it."""
        plan = self.results.reproduction
        here = plan is None or plan.data.get(subject.dataset) == subject.dataset
        cells = self.printed.get(subject.key(metric), ()) if here else ()
        return cells[0].mean if len(cells) == 1 else None

    def printed_pair(
        self, one: tuple[Subject, str], other: tuple[Subject, str]
    ) -> tuple[float, float] | None:
        """Return two printed numbers, each of a subject and metric, or None if one lacks."""
        both = self.printed_here(*one), self.printed_here(*other)
        return None if both[0] is None or both[1] is None else (both[0], both[1])

    @property
    def student(self) -> str:
        """The student's name, with what stands for it here."""
        plan, name = self.results.reproduction, self.reference.name(self.reference.student)
        return name if plan is None else plan.student

    def selection(self, dataset: str) -> set[str]:
        """Return what selected the epochs of the runs on a data set: holdout, test, or both."""
        selections = {
            run.selection
            for (of, _, kind), run in self.results.slots.items()
            if of.dataset == dataset and kind == "training" and run.task in TRAININGS
        }
        return selections - {""}

    def impossible(self, subject: Subject) -> list[str]:
        """Return what is wrong with a printed row."""
        row = {key: cells for key, cells in self.printed.items() if key[:5] == subject}
        return [f"paper: {fault.text}" for fault in infeasible(row)]

    def label(self, teacher: str) -> str:
        """Return a teacher's name as the paper has it, with what stands for it here."""
        name, _, mixed = teacher.partition("+")
        shown = self.reference.name(name)
        plan = self.results.reproduction
        stand_in = plan.teachers.get(name, shown) if plan else shown
        return (shown if stand_in == shown else f"{shown} ({stand_in})") + (
            " + mixup" if mixed else ""
        )

    def caption(self, dataset: str, *more: str) -> str:
        """Return what a reader has to know of numbers: scale, protocol, data, selection.

        Args:
            dataset: as the paper names it.
            more: sentences before that.
        """
        sentences, plan = list(more), self.results.reproduction
        if plan is not None:
            shown = self.reference.datasets[dataset].name
            data = plan.datasets.get(dataset, shown)
            sentences += [plan.about, f"Protocol {plan.protocol}."]
            sentences.append(f"Data: {data}" + ("." if data == shown else f" in place of {shown}."))
            sentences.append(f"Student: {plan.student}.")
            sentences += [f"Overrides: {' '.join(plan.overrides)}."] if plan.overrides else []
        chosen = self.selection(dataset)
        if chosen == {"test"}:
            sentences.append("Epochs selected on the test images, as the authors did: optimistic.")
        elif chosen == {"holdout"}:
            sentences.append("Epochs selected on held-out training images.")
        elif chosen:
            sentences.append("Epochs selected on the test images for some runs, not for others.")
        return " ".join([*sentences, "±: standard deviation over seeds."])


def pair_of_columns(
    name: str, heading: str, digits: int = 4, signed: bool = False
) -> tuple[Column, Column]:
    """Return the columns of a quantity: measured, and printed."""
    return (
        Column(name, heading, digits, signed),
        Column(f"{name}_printed", f"{heading}, paper", digits, signed, printed=True),
    )


def calibration_table(
    name: str,
    title: str,
    caption: str,
    labels: Sequence[Column],
    rows: Iterable[tuple[Mapping[str, str], Subject]],
    comparison: Comparison,
    percent: bool = False,
) -> Table:
    """Return accuracy, confidence and ECE beside the printed ones, and those after scaling.

    Args:
        name: of its files.
        title: one line.
        caption: what a reader has to know.
        labels: the columns that say what a row is.
        rows: those labels, and whose numbers the row has.
        comparison: measured and printed numbers.
        percent: whether accuracy and confidence are in percent, as printed.
    """
    factor, digits = (100.0, 2) if percent else (1.0, 4)
    unit = " (%)" if percent else ""
    columns = [
        *labels,
        *pair_of_columns("accuracy", f"Accuracy{unit}", digits),
        *pair_of_columns("confidence", f"Confidence{unit}", digits),
        *pair_of_columns("ece", "ECE"),
        Column("ece_noise_floor", "ECE noise floor", 3),  # runs of before: to 2 %, of 200 draws
        SEEDS,
        NOTES,
    ]
    lines: list[dict[str, Value]] = []
    for label, subject in rows:
        quantities = {
            "accuracy": ("test/accuracy", factor, digits),
            "confidence": ("test/confidence", factor, digits),
            "ece": ("test/ece", 1.0, 4),
        }
        row: dict[str, Value] = {**label, **comparison.both(subject, quantities)}
        row["ece_noise_floor"] = comparison.measured(subject, "test/ece_noise_floor")
        row["seeds"] = float(len(comparison.results.seeds(subject)))
        row["notes"] = "; ".join(
            filter(None, [comparison.results.remarks(subject), *comparison.impossible(subject)])
        )
        lines.append(row)
        temperature = comparison.measured(subject, "test/scaled/temperature")
        if temperature is not None:
            text = Column("", "", 2).shown(temperature)
            scaled: dict[str, Value] = dict.fromkeys(label, "")
            scaled[labels[-1].name] = f"scaled, T = {text}"
            scaled["accuracy"] = row["accuracy"]
            scaled["confidence"] = comparison.measured(subject, "test/scaled/confidence", factor)
            scaled["ece"] = comparison.measured(subject, "test/scaled/ece")
            of = comparison.results.cell(subject, "test/scaled/ece")
            scaled["seeds"] = float(len(of.by_seed)) if of is not None else 0.0
            if any(map(_is_of_a_file, comparison.results.runs(subject).values())):
                scaled["notes"] = "T is too low if its weights have seen the held-out images"
            lines.append(scaled)
    return Table(name, title, caption, columns, lines)


def _is_of_a_file(run: FoundRun) -> bool:
    """Return whether it measures a file of weights, which does not say what images they saw."""
    network = run.section("network")
    names_images = network.get("run") or network.get("export")
    return run.task == "evaluate" and bool(network.get("weights")) and not names_images


def paired_table(
    name: str,
    title: str,
    caption: str,
    pairs: Iterable[tuple[str, Subject, str, Subject]],
    results: Results,
) -> Table:
    """Return paired differences over the same test images, means over the seeds of both.

    Args:
        name: of its files.
        title: one line.
        caption: what a reader has to know.
        pairs: label and subject of the first network, and of the second.
        results: what was measured.
    """
    columns = [
        Column("first", "Network"),
        Column("second", "Less"),
        *(
            Column(f"{metric}{suffix}", f"{heading}{more}", 4, True)
            for metric, heading in (("accuracy", "Accuracy"), ("ece", "ECE"), ("nll", "NLL (nats)"))
            for suffix, more in (("", ""), ("_low", ", 95 % from"), ("_high", ", to"))
        ),
        Column("p", "p of accuracy", 3),
        SEEDS,
        NOTES,
    ]
    rows: list[dict[str, Value]] = []
    for first_label, first, second_label, second in pairs:
        row: dict[str, Value] = {"first": first_label, "second": second_label}
        one, other = results.predictions(first), results.predictions(second)
        # A teacher has one seed; it stands beside all of its students'.
        if first.role != second.role and one and other:
            if second.role == "teacher":
                other = dict.fromkeys(one, next(iter(other.values())))
            else:
                one = dict.fromkeys(other, next(iter(one.values())))
        seeds = sorted(one.keys() & other.keys())
        predictions = [of[seed] for of in (one, other) for seed in seeds]
        # That a teacher has one seed is no remark beside a student.
        both_teach = first.role == second.role == "teacher"
        remarks = [results.remarks(s) for s in (first, second) if both_teach or s.role != "teacher"]
        if not seeds:
            row["notes"] = "no predictions of both"
        elif not are_paired(predictions):
            row["notes"] = "not compared: their predictions are not of the same images"
        else:
            paths = tuple(
                run.path
                for subject in (first, second)
                for seed, run in results.runs(subject).items()
                if seed in seeds or subject.role == "teacher"
            )
            differences = paired_differences(
                predictions[: len(seeds)], predictions[len(seeds) :], DRAWS
            )
            for difference in differences:
                if difference.metric in ("accuracy", "ece", "nll"):
                    row[difference.metric] = Number(difference.difference, runs=paths)
                    row[f"{difference.metric}_low"] = difference.low
                    row[f"{difference.metric}_high"] = difference.high
                if difference.metric == "accuracy":
                    row["p"] = difference.p
            row["seeds"] = float(len(seeds))
            row["notes"] = "; ".join(dict.fromkeys(filter(None, remarks)))
        rows.append(row)
    return Table(name, title, caption, columns, rows)
