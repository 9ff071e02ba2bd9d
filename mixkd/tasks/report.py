"""`mixkd report`: tables, figures, claims and one page, from run directories. Needs no torch."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from mixkd.config.overrides import by_key
from mixkd.config.shipped import artefacts, experiments_dir
from mixkd.console import in_one_line, say
from mixkd.errors import UserError, nearest
from mixkd.files.writing import write_text
from mixkd.plots.reliability import save_figure
from mixkd.report.claims import Judged, judge, ledger_table
from mixkd.report.feasible import infeasible
from mixkd.report.page import Claim, Finding, Picture, RunRecord, Section, page
from mixkd.report.reference import Reference, load_reference
from mixkd.report.results import Reproduction, Results, manifest, read_results, title
from mixkd.report.rows import NOTES, SEEDS, Comparison, Drawing, as_number
from mixkd.report.table import COLUMNS, Column, Number, Table, Value
from mixkd.reproduction.artefact import Artefact, load_artefact
from mixkd.runs.read import FoundRun

KEYS = {
    "runs": "a folder of runs; runs unless given",
    "out": "a folder for the report; reports/<scale> unless given",
    "scale": "that of a reproduction whose runs are there; the latest one unless given",
}


def report(words: Sequence[str]) -> str:
    """Write the report on a folder of runs; return what was found.

    Args:
        words: `[runs=DIR] [out=DIR] [scale=NAME]`.

    Raises:
        UserError: for another key, or a folder without runs.
    """
    given = by_key(words, KEYS)
    root = Path(os.path.expanduser(given.get("runs", "runs")))
    if not root.is_dir():
        raise UserError.of("runs", f"got {str(root)!r}, which is no folder; takes {KEYS['runs']}")
    plans = filter(os.path.exists, root.glob("reproduction-*.json"))
    known = sorted(plans, key=lambda path: path.stat().st_mtime)
    if "scale" in given:
        path = manifest(root, given["scale"])
        names = [each.stem.removeprefix("reproduction-") for each in known]
        if path not in known:
            raise UserError.of(
                "scale",
                f"got {given['scale']!r}, of which {root} has no reproduction; it has "
                f"{', '.join(names) or 'none'}{nearest(given['scale'], names)}",
            )
        known = [path]
    reproduction = _latest(known, tells="scale" not in given)
    usual = f"reports/{reproduction.scale if reproduction else 'runs'}"
    out = Path(os.path.expanduser(given.get("out", usual)))
    if out.exists() and not out.is_dir():
        raise UserError.of("out", f"got {str(out)!r}, which is a file; takes {KEYS['out']}")
    return write_report(root, reproduction, out)


def _latest(plans: Sequence[Path], tells: bool) -> Reproduction | None:
    """Return the latest plan that can be read, if any; of damaged ones tell, or raise it."""
    for path in reversed(plans):
        try:
            return Reproduction.read(path)
        except UserError as error:
            if not tells:
                raise
            say(f"passed over: {error.problems[0].text}")
    return None


def place_of(root: Path, scale: str) -> Path:
    """Return where artefacts keep what no run gives."""
    return root / f"reproduction-{scale}"


def write_report(root: Path, reproduction: Reproduction | None, out: Path) -> str:
    """Write tables, figures, claims and index.html; return a few lines on them.

    Args:
        root: a folder of runs.
        reproduction: what has been planned there; None: what its runs are is read from them.
        out: where to write.
    """
    results = read_results(root, reproduction)
    reference = load_reference(experiments_dir() / "reference.yaml")
    names = [n for n in artefacts() if reproduction is None or n in reproduction.artefacts]
    folder = place_of(root, reproduction.scale if reproduction else "none")
    if not results.found and not results.expected:
        raise UserError.of("runs", f"{root} holds no runs; takes {KEYS['runs']}")
    sections = []
    for name in names:
        artefact, found = load_artefact(name), Comparison(results, reference, name)
        try:
            parts = artefact.render(found, folder)
            if reproduction is not None or _has_numbers(parts):
                sections.append(_written(artefact, found, parts, out))
        except OSError:  # a full disk
            raise
        except Exception as error:  # whatever a damaged run leads to, the others are reported
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            fault = f"It could not be rendered: {error!r}. HYDRA_FULL_ERROR=1 shows where."
            sections.append(Section(name, artefact.title, faults=[fault]))
    # Numbers of runs that have faults decide nothing, and those of one run count once.
    judged = judge(
        reference,
        {k: own for k, own in results.sound_cells.items() if k.dataset not in results.repeated},
        known_as(reproduction, reference),
        results.goes_without,
    )
    about = reproduction.about if reproduction else ""
    ledger_table(judged, about).write(out)
    sections += [networks_section(results, about), bounds_section(results, reference)]
    for section in sections[-2:]:
        for table in section.tables:
            table.write(out)
    text = page(
        f"mixkd: {f'reproduction, scale {reproduction.scale}' if reproduction else 'runs'}",
        _intro(reproduction, reference),
        sections,
        [_claim(f"C{number}", each) for number, each in enumerate(judged, start=1)],
        [record(run, results) for run in results.found],
        results.faults() if reproduction is None else (),
    )
    write_text(out / "index.html", text)
    return _summary(out, sections, judged, results)


def known_as(reproduction: Reproduction | None, reference: Reference) -> dict[str, str]:
    """Return what stands for the paper's data sets and networks, for people."""
    if reproduction is None:
        return {}
    papers = {name: dataset.name for name, dataset in reference.datasets.items()}
    datasets = {
        name: own if own == papers.get(name, own) else f"{own} for {papers[name]}"
        for name, own in reproduction.datasets.items()
    }
    return {**datasets, **reproduction.teachers, reference.student: reproduction.student}


def _has_numbers(parts: Iterable[Table | Drawing]) -> bool:
    """Return whether anything in them was measured."""
    return any(
        part.runs
        if isinstance(part, Drawing)
        else any(isinstance(v, Number) and v.runs for row in part.rows for v in row.values())
        for part in parts
    )


def _written(
    artefact: Artefact, found: Comparison, parts: Sequence[Table | Drawing], out: Path
) -> Section:
    """Write an artefact's tables and figures; return its part of the page."""
    tables = [part for part in parts if isinstance(part, Table)]
    pictures = []
    for table in tables:
        table.write(out)
    for drawing in parts:
        if isinstance(drawing, Drawing):
            save_figure(drawing.figure, out / drawing.name)
            svg = (out / f"{drawing.name}.svg").read_text()
            caption = " ".join(drawing.caption.split())
            pictures.append(Picture(drawing.name, drawing.title, caption, svg, drawing.runs))
    notes = " ".join(found.reference.notes_of(artefact.name))
    text = "\n\n".join([artefact.about, *([f"In the paper: {notes}"] if notes else [])])
    faults = found.results.faults(artefact.name) if found.results.reproduction else []
    return Section(artefact.name, artefact.title, text, tables, pictures, faults)


def networks_section(results: Results, about: str) -> Section:
    """Return a table of every network, whichever artefact it is of: a row a subject."""
    rows: list[dict[str, Value]] = []
    for subject in results.subjects:
        row: dict[str, Value] = {"network": title(subject)}
        for column in COLUMNS[1:]:
            row[column.name] = as_number(results.cell(subject, f"test/{column.name}"))
        row["seeds"] = float(len(results.seeds(subject)))
        row["notes"] = results.remarks(subject)
        rows.append(row)
    caption = f"{about} On test images. ±: standard deviation over seeds.".strip()
    table = Table("networks", "Every network", caption, [*COLUMNS, SEEDS, NOTES], rows)
    return Section("networks", "Every network", tables=[table])


def bounds_section(results: Results, reference: Reference) -> Section:
    """Return the rows, printed and measured, whose ECE no binning can give."""
    rows: list[dict[str, Value]] = [
        {
            "where": f"paper, {fault.source}" if fault.source else f"measured, seed {fault.seed}",
            "subject": title(fault.subject),
            "notes": fault.text,
        }
        for cells in (reference.cells, results.cells)
        for fault in infeasible(cells)
    ]
    counts = [sum(key.metric == "test/ece" for key in c) for c in (reference.cells, results.cells)]
    caption = (
        "Whatever the bins, |accuracy - confidence| <= ECE <= (1 - accuracy) + (1 - confidence). "
        "Printed numbers are given half a unit of their last digit. Looked at: "
        f"{counts[0]} printed quantities and {counts[1]} measured ones, each of the latter seed by "
        "seed. Those that break it:"
    )
    columns = [Column("where", "Where"), Column("subject", "Network"), NOTES]
    table = Table("bounds", "ECE that cannot be", caption, columns, rows)
    return Section("bounds", "ECE that cannot be", tables=[table])


def record(run: FoundRun, results: Results) -> RunRecord:
    """Return what the page says of a run."""
    feeds = [f"{title(s)}, seed {n}, {k}" for (s, n, k), own in results.slots.items() if own is run]
    seeds = run.provenance.get("seeds")
    packages = run.provenance.get("packages")
    prints = run.provenance.get("fingerprints")
    more = {"used as": "; ".join(feeds) or "nothing: no part of this report"}
    if run.faults:
        more["faults"] = "; ".join(run.faults)
    if resumed := run.provenance.get("resumed"):
        more["resumed"] = json.dumps(resumed)
    more |= {"selection": run.selection, "experiment": str(run.provenance.get("experiment", ""))}
    return RunRecord(
        run.path,
        run.command,
        str(run.status.get("state", "unknown")),
        run.dataset,
        str(run.provenance.get("git") or ""),
        {str(k): v for k, v in _mapping(seeds).items() if isinstance(v, int)},
        str(run.provenance.get("device", "")),
        str(run.status.get("ended", "")),
        run.metrics,
        {str(k): str(v) for k, v in _mapping(prints).items()},
        {str(k): str(v) for k, v in _mapping(packages).items()},
        more,
        yaml.safe_dump(dict(run.config), sort_keys=False) if run.config else "",
    )


def _mapping(value: object) -> dict[object, object]:
    return value if isinstance(value, dict) else {}


def _claim(name: str, each: Judged) -> Claim:
    return Claim(
        name,
        f"{each.claim.text} (`{each.claim.id}`) Note: {each.claim.note}",
        each.claim.where,
        Finding(each.printed.verdict, each.printed.text, each.printed.runs),
        Finding(each.measured.verdict, each.measured.text, each.measured.runs),
    )


def _intro(reproduction: Reproduction | None, reference: Reference) -> str:
    if reproduction is None:
        return "Runs of mixkd. What they are is read from their configurations."
    papers = {name: dataset.name for name, dataset in reference.datasets.items()}
    ours = {**reproduction.datasets, **reproduction.teachers}
    pairs = [(papers.get(name) or reference.name(name), own) for name, own in ours.items()]
    pairs.append((reference.name(reference.student), reproduction.student))
    instead = "; ".join(f"{own} for {papers}" for papers, own in pairs if own != papers)
    said = f"{reproduction.about}\n\nProtocol {reproduction.protocol}."
    said += f" Overrides: {' '.join(reproduction.overrides)}." if reproduction.overrides else ""
    return said + (f" In place of the paper's: {instead}." if instead else "")


def _summary(
    out: Path, sections: Sequence[Section], judged: Sequence[Judged], results: Results
) -> str:
    verdicts = [each.measured.verdict for each in judged]
    counted = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
    names = ", ".join(section.name for section in sections)
    planned = {each.command: slot in results.slots for slot, each in results.expected.items()}
    missing = sum(not there for there in planned.values())
    lines = [f"{out}/index.html: {names}", f"claims, by what was measured: {counted}"]
    if missing:
        lines.append(f"{missing} of {len(planned)} runs are missing")
    faulty = {results.slots[slot].path for slot in results.notes if slot in results.slots}
    if faulty:
        lines.append(f"{len(faulty)} runs have faults: the page lists them")
    lines += [in_one_line(f"{run.path}: {text}") for run in results.found for text in run.damaged]
    return "\n".join(lines)
