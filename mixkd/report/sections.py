"""Parts of a report: written as files beside the page, and handed to it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from matplotlib.figure import Figure

from mixkd.config.analyses import analysis_names, prefix_of, section_of_analysis
from mixkd.plots.style import save_figure
from mixkd.report.cells import Subject
from mixkd.report.page import Picture, ReportSection, RunRecord
from mixkd.report.results import Results, slot_title, title
from mixkd.report.table import COLUMNS, NOTES, SEEDS, Column, Table, Value
from mixkd.runs.read import FoundRun


@dataclass(frozen=True)
class Drawing:
    """A figure before it is written to files of its name, and the runs that it shows."""

    name: str
    title: str
    caption: str
    figure: Figure
    runs: tuple[str, ...] = ()


Part = Table | Drawing


def write_section(
    name: str,
    heading: str,
    parts: Sequence[Part],
    text: str = "",
    faults: Sequence[str] = (),
    *,
    out: Path,
) -> ReportSection:
    """Write tables and figures into a folder; return the section of the page that shows them."""
    tables = [part for part in parts if isinstance(part, Table)]
    for table in tables:
        table.write(out)
    pictures = []
    for drawing in parts:
        if isinstance(drawing, Drawing):
            save_figure(drawing.figure, out / drawing.name)
            svg = (out / f"{drawing.name}.svg").read_text()
            caption = " ".join(drawing.caption.split())
            pictures.append(Picture(drawing.name, drawing.title, caption, svg, drawing.runs))
    return ReportSection(name, heading, text, tables, pictures, faults)


def networks_table(results: Results, about: str) -> Table:
    """Return the calibration of every network on the test images, a row a network."""
    columns = [*COLUMNS[1:], *(Column(name, name) for name in _own_metrics(results))]
    metrics = {column.name: f"test/{column.name}" for column in columns}
    rows = _rows(results, results.subjects, metrics, "training")
    caption = f"{about} On test images. ±: standard deviation over seeds.".strip()
    return Table("networks", "Every network", caption, [COLUMNS[0], *columns, SEEDS, NOTES], rows)


def _own_metrics(results: Results) -> list[str]:
    """Return the names of the metrics that the user's own parts have given of test images."""
    names: dict[str, None] = {}
    for run in results.slots.values():
        for own in run.section("metrics"):
            found = (name.removeprefix("test/") for name in run.metrics if name[:5] == "test/")
            names |= dict.fromkeys(n for n in found if n == own or n.startswith(f"{own}_"))
    return list(names)


def analysis_tables(results: Results) -> Iterator[Table]:
    """Yield a table of each analysis that no artefact draws: a row a network, a column a metric."""
    measured = sorted({key.metric for key in results.cells})
    for kind in dict.fromkeys([*analysis_names(), *(kind for _, _, kind in results.slots)]):
        is_shipped, prefix = kind in analysis_names(), prefix_of(kind)
        subjects = [subject for subject in results.subjects if results.seeds(subject, kind)]
        is_drawn = section_of_analysis(kind).is_drawn if is_shipped else kind == "training"
        if is_drawn or not subjects:
            continue
        metrics = {re.sub(r"\W", "_", m): m for m in measured if m.startswith(prefix)}
        columns = [Column(name, m.removeprefix(prefix)) for name, m in metrics.items()]
        rows = _rows(results, subjects, metrics, kind)
        option = f"{kind}=true" if is_shipped else f"analyses.{kind}"
        caption = f"By `mixkd evaluate {option}`. ±: standard deviation over seeds."
        name, heading = f"analysis_{kind}", f"Analysis: {kind}"
        yield Table(name, heading, caption, [COLUMNS[0], *columns, SEEDS, NOTES], rows)


def _rows(
    results: Results, subjects: Sequence[Subject], metrics: Mapping[str, str], kind: str
) -> list[dict[str, Value]]:
    """Return a row a network, with its metrics under the names of their columns."""
    return [
        {
            "network": title(subject),
            **{column: results.number(subject, metric) for column, metric in metrics.items()},
            "seeds": float(len(results.seeds(subject, kind))),
            "notes": results.remarks(subject, kind),
        }
        for subject in subjects
    ]


def run_record(run: FoundRun, results: Results) -> RunRecord:
    """Return what the page says of a run."""
    uses = [slot_title(slot) for slot, used in results.slots.items() if used is run]
    more = {"used as": "; ".join(uses) or "nothing: no part of this report"}
    if run.faults:
        more["faults"] = "; ".join(run.faults)
    if resumed := run.provenance.get("resumed"):
        more["resumed"] = json.dumps(resumed)
    more |= {"selection": run.selection, "experiment": str(run.provenance.get("experiment", ""))}
    seeds, packages, fingerprints = (
        _mapping(run.provenance.get(name)) for name in ("seeds", "packages", "fingerprints")
    )
    return RunRecord(
        path=run.path,
        command=run.command,
        state=str(run.status.get("state", "unknown")),
        dataset=run.dataset,
        revision=str(run.provenance.get("git") or ""),
        seeds={name: seed for name, seed in seeds.items() if isinstance(seed, int)},
        device=str(run.provenance.get("device", "")),
        when=str(run.status.get("ended", "")),
        metrics=run.metrics,
        fingerprints={name: str(value) for name, value in fingerprints.items()},
        packages={name: str(version) for name, version in packages.items()},
        more=more,
        config=yaml.safe_dump(dict(run.config), sort_keys=False) if run.config else "",
    )


def _mapping(value: object) -> Mapping[str, object]:
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}
