"""A report as one HTML file: tables, figures, claims, and the runs behind them.

The page needs no server and no network; its policy forbids it to fetch anything. Its markup is in
templates/, which escape whatever is put into them.
"""

import math
import os
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mixkd.report.table import Column, Number, Table, Value

TEMPLATES = Path(__file__).with_name("templates")
# The first word of a verdict gives its colour; other words are grey.
TONES = {"supported": "good", "mixed": "mixed", "inconsistent": "mixed", "refuted": "bad"}
LINES_SHOWN = 3  # of a finding; the others are folded away
LONG = 36  # letters of a cell that is wrapped


@dataclass(frozen=True)
class Picture:
    """A figure as text, with `name`.svg and `name`.png beside the page, and the runs it shows.

    The title is also for those who do not see the figure.
    """

    name: str
    title: str
    caption: str
    svg: str
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportSection:
    """An artefact: faults, then text, tables and pictures, under an anchor such as table1.

    Each table has its files `name`.md, .csv and .tex beside the page.
    """

    name: str
    heading: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    faults: Sequence[str] = ()


@dataclass(frozen=True)
class Finding:
    """What some numbers say of a claim: a verdict, and in `figures` the lines that decide it."""

    verdict: str
    figures: str = ""
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClaimRecord:
    """A claim such as C7 and its place in the paper, by the numbers printed there and measured."""

    name: str
    text: str
    where: str
    printed: Finding
    measured: Finding


@dataclass(frozen=True)
class RunRecord:
    """Where numbers come from: a run directory and what it says of itself.

    `path` is as in `Number.runs`, `revision` of git, `when` the end in ISO 8601, `fingerprints` are
    sha256, `config` is every setting as YAML; "" stands for what is not known.
    """

    path: str
    command: str
    state: str
    dataset: str = ""
    revision: str = ""
    seeds: Mapping[str, int] = field(default_factory=dict)
    device: str = ""
    when: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)
    config: str = ""

    @property
    def anchor(self) -> str:
        """The id in the page; the same for the same path."""
        return f"run-{sha256(os.fsencode(self.path)).hexdigest()[:10]}"


Records = Mapping[str, RunRecord]


def page(
    title: str,
    intro: str,
    sections: Sequence[ReportSection],
    claims: Sequence[ClaimRecord],
    runs: Sequence[RunRecord],
    faults: Sequence[str] = (),
    about_claims: str = "",
) -> str:
    """Return the page, to be written as index.html into the folder of its tables and figures.

    In intro, texts, captions and faults, blank lines part paragraphs, `backticks` set code, and
    addresses become links; nothing else is markup. Numbers whose run has no record are a fault.
    `faults` are those of the report as a whole, and `about_claims` is the caption of the ledger.

    Raises:
        ValueError: if two parts have one name.
    """
    names = ["contents", "claims", "runs", "sources", *(section.name for section in sections)]
    names += [f"claim-{claim.name}" for claim in claims]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"two parts of the page have one name: {', '.join(twice)}")
    records = {run.path: run for run in runs}
    uses: dict[str, dict[str, str]] = {path: {} for path in records}
    for path, name, heading in _uses(sections, claims):
        uses.setdefault(path, {})[name] = heading
    if lost := [path for path in uses if path not in records]:
        faults = [*faults, f"Numbers come from runs without a record here: {', '.join(lost)}"]
    script = (TEMPLATES / "page.js").read_text()
    return (
        _environment(records)
        .get_template("page.html")
        .render(
            title=title,
            intro=intro,
            sections=sections,
            claims=claims,
            about_claims=about_claims,
            verdict_counts=_verdict_counts(claims),
            runs=list(records.values()),
            runs_grid=_runs_grid(list(records.values())),
            uses=uses,
            faults=faults,
            style=Markup((TEMPLATES / "page.css").read_text()),
            script=Markup(script),
            script_digest=b64encode(sha256(f"\n{script}".encode()).digest()).decode(),
        )
    )


def _environment(records: Records) -> Environment:
    """Return the templates, and the filters that they use."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["shown"] = LINES_SHOWN
    environment.filters |= {
        "base64": lambda text: b64encode(text.encode()).decode(),
        "count_of": lambda of, noun: f"{len(of)} {noun}{'' if len(of) == 1 else 's'}",
        "grid_of": partial(_grid_of, records=records),
        "inline": _inline,
        "listed": lambda values: ", ".join(f"{name} {value}" for name, value in values.items()),
        "paragraphs": lambda text: filter(None, map(str.strip, re.split(r"\n\s*\n", text))),
        "records": lambda paths: [records[path] for path in paths if path in records],
        "tone": lambda verdict: TONES.get(_first_word(verdict), "plain"),
    }
    return environment


def _uses(
    sections: Sequence[ReportSection], claims: Sequence[ClaimRecord]
) -> Iterator[tuple[str, str, str]]:
    """Yield the path of each run that a part uses, and the part's name and heading."""
    for section in sections:
        values = [value for table in section.tables for row in table.rows for value in row.values()]
        numbers = [value for value in values if isinstance(value, Number)]
        named = [part.runs for part in numbers] + [part.runs for part in section.pictures]
        for runs in named:
            yield from ((path, section.name, section.heading) for path in runs)
    for claim in claims:
        for path in (*claim.printed.runs, *claim.measured.runs):
            yield path, "claims", "Claims"


def _verdict_counts(claims: Sequence[ClaimRecord]) -> list[tuple[str, list[tuple[str, int]]]]:
    """Return how many claims have which verdict, by the printed and by the measured numbers."""
    order = [*TONES, ""]
    printed = Counter(claim.printed.verdict for claim in claims)
    measured = Counter(claim.measured.verdict for claim in claims)
    headed = {"By the printed numbers": printed, "By the measured numbers": measured}
    return [
        (heading, sorted(counts.items(), key=lambda item: order.index(_first_word(item[0]))))
        for heading, counts in headed.items()
    ]


def _first_word(verdict: str) -> str:
    """Return the first word of a verdict if it is one of TONES, or else nothing."""
    word = verdict.partition(" ")[0].lower()
    return word if word in TONES else ""


class _GridCell(NamedTuple):
    """A cell of a table of the page: its text, and its classes as `kind`.

    `exact` is a number with every digit; by `value` it is sorted, or else by its text; `runs` are
    linked to, `note` is of its row and shown at a mark, as notes may be out of sight at the end of
    the row, and `tone` colours a badge.
    """

    text: str
    kind: str
    exact: str = ""
    value: str = ""
    is_missing: bool = False
    runs: Sequence[RunRecord] = ()
    note: str = ""
    tone: str = ""


class _Grid(NamedTuple):
    """A table of the page; with a name, it has files of that name beside the page."""

    name: str
    title: str
    caption: str
    heads: Sequence[tuple[str, str]]  # text and class
    rows: Sequence[list[_GridCell]]


def _grid_of(table: Table, records: Records) -> _Grid:
    """Return a table as the page shows it."""
    kinds = [
        ("text" if table.is_text(column) else "number") + (" printed" if column.printed else "")
        for column in table.columns
    ]
    rows = []
    for row in table.rows:
        note = str(row.get("notes") or "")
        cells = [
            _grid_cell(column, row.get(column.name), kind, records)
            for column, kind in zip(table.columns, kinds, strict=True)
        ]
        cells[:1] = [cell._replace(note=note) for cell in cells[:1]]
        rows.append(cells)
    heads = [(column.heading, kind) for column, kind in zip(table.columns, kinds, strict=True)]
    return _Grid(table.name, table.title, table.caption, heads, rows)


def _grid_cell(column: Column, value: Value, kind: str, records: Records) -> _GridCell:
    """Return a value of a column as the page shows it."""
    text = column.shown(value)
    if value is None or isinstance(value, str):
        is_long = "text" in kind and len(text) > LONG
        return _GridCell(text, kind + " long" * is_long, is_missing=not value)
    number = value if isinstance(value, Number) else Number(value)
    if math.isnan(number.value):
        return _GridCell(text, kind, is_missing=True)
    exact = repr(float(number.value))
    sorts_by = exact.replace("inf", "Infinity")
    if number.spread is not None:
        exact += f" ± {float(number.spread)!r}"
    runs = [records[path] for path in number.runs if path in records]
    return _GridCell(text, kind, exact, sorts_by, runs=runs)


def _runs_grid(runs: Sequence[RunRecord]) -> _Grid:
    """Return the table of all runs."""
    metrics = [n for n in ("test/accuracy", "test/ece") if any(n in run.metrics for run in runs)]
    columns = [
        Column("path", "Run"), Column("state", "State"), Column("dataset", "Data"),
        Column("seed", "Seed", digits=0), *(Column(name, name) for name in metrics),
        Column("ended", "Ended"), Column("device", "Device"), Column("revision", "Revision"),
    ]  # fmt: skip
    rows: list[dict[str, Value]] = [
        {
            "path": run.path,
            "state": run.state,
            "dataset": run.dataset,
            "seed": run.seeds.get("seed"),
            **{name: run.metrics.get(name) for name in metrics},
            "ended": run.when[:16].replace("T", " "),
            "device": run.device,
            "revision": re.sub(r"^([0-9a-f]{10})[0-9a-f]+", r"\1", run.revision),
        }
        for run in runs
    ]
    grid = _grid_of(Table("", "Runs", f"All {len(runs)}; details below.", columns, rows), {})
    for row, run in zip(grid.rows, runs, strict=True):
        row[0] = row[0]._replace(runs=[run], exact="details")
        row[1] = row[1]._replace(tone="" if run.state == "finished" else "bad")
    return grid


def _inline(text: str) -> Markup:
    """Return a text with its `code` and its addresses marked."""
    marked = []
    for k, part in enumerate(re.split(r"`([^`]+)`", text)):
        if k % 2:
            marked.append(Markup("<code>{}</code>").format(part))
            continue
        for j, piece in enumerate(re.split(r"(https?://[^\s<>\"')]+[\w/])", part)):
            marked.append(Markup('<a href="{0}">{0}</a>').format(piece) if j % 2 else escape(piece))
    return Markup().join(marked)
