"""The paper's parts of a report: its artefacts, its claims judged, and ECEs that cannot be."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from mixkd.config.shipped import artefacts
from mixkd.report.cells import Subject
from mixkd.report.page import ClaimRecord, Finding, ReportSection
from mixkd.report.plan import Reproduction
from mixkd.report.results import Results, title
from mixkd.report.sections import Drawing, Part, write_section
from mixkd.report.table import NOTES, Column, Number, Table, Value
from mixkd.reproduction.study import Artefact, load_artefact

from .claims import CAPTION, Judged, Judgement, judge, ledger_table
from .comparison import Comparison
from .feasible import infeasible
from .reference import Reference, load_reference


class PaperReport(NamedTuple):
    """What a report has of the paper.

    Attributes:
        sections: those of the artefacts, and the last one on ECEs that cannot be.
        claims: the ledger.
        about_claims: how it is to be read.
        summary: how many claims have which verdict, in one line.
    """

    sections: list[ReportSection]
    claims: list[ClaimRecord]
    about_claims: str
    summary: str


@cache
def reference() -> Reference:
    """Return the paper's numbers and claims."""
    return load_reference(Path(__file__).with_name("reference.yaml"))


def teachers() -> tuple[str, ...]:
    """Return the names of networks that are teachers even where they have not taught."""
    return reference().teachers


def write_parts(results: Results, made: Path, out: Path) -> PaperReport:
    """Write the paper's tables and figures; return its parts of the page.

    Args:
        results: what was measured.
        made: the folder of what no run gives.
        out: where to write.
    """
    reproduction = results.reproduction
    chosen = [n for n in artefacts() if reproduction is None or n in reproduction.artefacts]
    sections = [_section(load_artefact(name), results, made, out) for name in chosen]
    # Numbers of runs that have faults decide nothing, and those of one run count once.
    repeated = repeated_datasets(results)
    sound = {k: v for k, v in results.sound_cells.items() if k.dataset not in repeated}
    without = partial(goes_without, results, repeated)
    judged = judge(reference(), sound, _stand_ins(reproduction), without)
    ledger_table(judged, reproduction.about if reproduction else "").write(out)
    claims = [_claim(f"C{number}", one) for number, one in enumerate(judged, start=1)]
    verdicts = Counter(one.measured.verdict for one in judged)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    return PaperReport(
        [*filter(None, sections), write_section(*_bounds(results), out=out)],
        claims,
        CAPTION,
        f"claims, by what was measured: {counts}",
    )


def repeated_datasets(results: Results) -> frozenset[str]:
    """Return the data sets that stand on runs all of which another one has too."""
    paths: dict[str, set[str]] = {}
    for (subject, _, _), run in results.expected.items():
        paths.setdefault(subject.dataset, set()).update([run.path] if run.path else [])
    names = list(paths)
    return frozenset(
        name
        for number, name in enumerate(names)
        for earlier, other in enumerate(names)
        if paths[name]
        and (paths[name] < paths[other] or (paths[name] == paths[other] and earlier < number))
    )


def goes_without(results: Results, repeated: frozenset[str], subject: Subject) -> bool:
    """Return whether a network does not count: the scale leaves it out, or its data repeat."""
    return results.is_left_out(subject) or subject.dataset in repeated


def intro(reproduction: Reproduction) -> str:
    """Return what a reproduction is, and what stands for the paper's networks and data in it."""
    paper = reference()
    ours = {**reproduction.datasets, **reproduction.teachers, paper.student: reproduction.student}
    datasets = {name: dataset.name for name, dataset in paper.datasets.items()}
    names = {name: datasets.get(name) or paper.name(name) for name in ours}
    replaced = [f"{new} for {names[name]}" for name, new in ours.items() if new != names[name]]
    text = f"{reproduction.about}\n\nProtocol {reproduction.protocol}."
    text += f" Overrides: {' '.join(reproduction.overrides)}." if reproduction.overrides else ""
    return text + (f" In place of the paper's: {'; '.join(replaced)}." if replaced else "")


def _section(artefact: Artefact, results: Results, made: Path, out: Path) -> ReportSection | None:
    """Write an artefact; None where none of its numbers was measured and none was asked for."""
    comparison = Comparison(results, reference(), artefact.name)
    try:
        render = artefact.module.render
        parts = list(render(comparison) if artefact.needs_runs else render(comparison, made))
        if results.reproduction is None and not _has_numbers(parts):
            return None
        notes = " ".join(reference().notes_of(artefact.name))
        text = "\n\n".join([artefact.about, *([f"In the paper: {notes}"] if notes else [])])
        faults = results.faults(artefact.name) if results.reproduction else []
        return write_section(artefact.name, artefact.title, parts, text, faults, out=out)
    except OSError:  # a full disk
        raise
    except Exception as error:  # whatever a damaged run leads to, the others are reported
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        fault = f"It could not be rendered: {error!r}. HYDRA_FULL_ERROR=1 shows where."
        return ReportSection(artefact.name, artefact.title, faults=[fault])


def _has_numbers(parts: Iterable[Part]) -> bool:
    """Return whether anything in them was measured."""
    return any(
        part.runs
        if isinstance(part, Drawing)
        else any(isinstance(v, Number) and v.runs for row in part.rows for v in row.values())
        for part in parts
    )


def _stand_ins(reproduction: Reproduction | None) -> dict[str, str]:
    """Return what stands for the paper's data sets and networks, for people."""
    if reproduction is None:
        return {}
    datasets = {}
    for name, stand_in in reproduction.datasets.items():
        dataset = reference().datasets.get(name)
        is_other = dataset is not None and dataset.name != stand_in
        datasets[name] = f"{stand_in} for {dataset.name}" if dataset and is_other else stand_in
    return {**datasets, **reproduction.teachers, reference().student: reproduction.student}


def _bounds(results: Results) -> tuple[str, str, Sequence[Part]]:
    """Return the rows, printed and measured, whose ECE no binning can give."""
    both = (reference().cells, results.cells)
    rows: list[dict[str, Value]] = [
        {
            "where": f"paper, {fault.source}" if fault.source else f"measured, seed {fault.seed}",
            "subject": title(fault.subject),
            "notes": fault.text,
        }
        for cells in both
        for fault in infeasible(cells)
    ]
    printed, measured = (sum(key.metric == "test/ece" for key in cells) for cells in both)
    caption = (
        "Whatever the bins, |accuracy - confidence| <= ECE <= (1 - accuracy) + (1 - confidence). "
        "Printed numbers are given half a unit of their last digit. Looked at: "
        f"{printed} printed quantities and {measured} measured ones, each of the latter seed by "
        "seed. Those that break it:"
    )
    columns = [Column("where", "Where"), Column("subject", "Network"), NOTES]
    heading = "ECE that cannot be"
    return "bounds", heading, [Table("bounds", heading, caption, columns, rows)]


def _claim(name: str, judged: Judged) -> ClaimRecord:
    claim = judged.claim
    text = f"{claim.text} (`{claim.id}`) Note: {claim.note}"
    return ClaimRecord(name, text, claim.where, _finding(judged.printed), _finding(judged.measured))


def _finding(judgement: Judgement) -> Finding:
    return Finding(judgement.verdict, judgement.text, judgement.runs)
