"""A reproduction report as one HTML file: tables, figures, claims, and the runs behind them.

The page needs no server and no network; its policy forbids it to fetch anything.
"""

import math
import os
import re
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from html import escape
from pathlib import Path
from urllib.parse import quote

from mixkd.report.claims import CAPTION
from mixkd.report.table import Column, Number, Table, Value

# The first word of a verdict gives its colour; other words are grey.
TONES = {"supported": "good", "mixed": "mixed", "inconsistent": "mixed", "refuted": "bad"}

SHOWN = 3  # lines of a finding; the others are folded away

LEGEND = """<p class="legend">Numbers that were measured here lead to the runs they come from;
hover for every digit. <span class="printed">Shaded italics</span> are a paper's own numbers.
<span class="noted">Tinted rows</span> have a note. A table is sorted by a click on a heading;
a third click restores its order.</p>"""


@dataclass(frozen=True)
class Picture:
    """A figure, with `name`.svg and `name`.png beside the page.

    Attributes:
        name: of its files.
        title: one line, also for those who do not see it.
        caption: what else to know.
        svg: the whole SVG file.
        runs: the run directories that it was drawn from.
    """

    name: str
    title: str
    caption: str
    svg: str
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """An artefact: tables, with `name`.md, .csv and .tex beside the page, and pictures.

    Attributes:
        name: anchor in the page, such as table1.
        heading: one line.
        text: paragraphs before the tables.
        tables: in order.
        pictures: in order, after the tables.
        faults: what is wrong or missing, shown first.
    """

    name: str
    heading: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    faults: Sequence[str] = ()


@dataclass(frozen=True)
class Finding:
    """What some numbers say of a claim.

    Attributes:
        verdict: a word or two; the first has a colour if it is one of TONES.
        figures: the numbers that decide, in one line or several.
        runs: the run directories that they come from.
    """

    verdict: str
    figures: str = ""
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A claim, by the numbers that its paper prints and by those measured here.

    Attributes:
        name: a short one, such as C7.
        text: what is claimed.
        where: in the paper.
        printed: by the paper's own numbers.
        measured: by the runs.
    """

    name: str
    text: str
    where: str
    printed: Finding
    measured: Finding


@dataclass(frozen=True)
class RunRecord:
    """Where numbers come from: a run directory and what it says of itself.

    Attributes:
        path: the directory, as in `Number.runs`.
        command: as typed in a shell.
        state: finished, running and so on.
        dataset: its name.
        revision: of git; "" if unknown.
        seeds: by name.
        device: where it computed.
        when: the time of its end, ISO 8601.
        metrics: as in metrics.json.
        fingerprints: sha256 of what went in and came out.
        packages: versions.
        more: what else to know of it, by name.
        config: every setting, as YAML.
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


def page(
    title: str,
    intro: str,
    sections: Sequence[Section],
    claims: Sequence[Claim],
    runs: Sequence[RunRecord],
    faults: Sequence[str] = (),
) -> str:
    """Return the page, to be written as index.html into the folder of its tables and figures.

    In intro, texts, captions and faults, blank lines part paragraphs, `backticks` set code, and
    addresses become links; nothing else is markup. Numbers whose run has no record are a fault.

    Args:
        title: of the report.
        intro: what it is, how it was made.
        sections: the artefacts, in order.
        claims: the ledger, in order.
        runs: a record of each run that any number names.
        faults: of the report as a whole.

    Raises:
        ValueError: if two parts have one name.
    """
    parts = [*(s.name for s in sections), *(f"claim-{claim.name}" for claim in claims)]
    twice = [
        n for n, k in Counter(["contents", "claims", "runs", "sources", *parts]).items() if k > 1
    ]
    if twice:
        raise ValueError(f"two parts of the page have one name: {', '.join(twice)}")
    known = {run.path: run for run in runs}
    uses = _uses(sections, claims)
    lost = [path for path in uses if path not in known]
    if lost:
        faults = [*faults, f"Numbers come from runs without a record here: {', '.join(lost)}"]
    where = {section.name: section.heading for section in sections} | {"claims": "Claims"}
    records = [
        _record(run, {n: where[n] for n in uses.get(path, ())}) for path, run in known.items()
    ]
    script, style = (Path(__file__).with_name(f"page.{kind}").read_text() for kind in ("js", "css"))
    digest = b64encode(sha256(f"\n{script}".encode()).digest()).decode()
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            f"img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">',
            f"<style>\n{style}</style>\n</head>\n<body>\n<header>",
            f"<h1>{escape(title)}</h1>\n{_prose(intro)}\n{_faults(faults)}\n</header>",
            f"{_contents(sections, claims, known)}\n<main>",
            _ledger(claims, known) if claims else "",
            *(_section(section, known) for section in sections),
            f'<section id="runs">\n<h2>Runs</h2>\n{_runs_table(list(known.values()))}',
            *records,
            '</section>\n</main>\n<div id="sources" popover></div>',
            f"<script>\n{script}</script>\n</body>\n</html>\n",
        ]
    )


def _uses(sections: Sequence[Section], claims: Sequence[Claim]) -> dict[str, dict[str, None]]:
    """Return path of a run -> the names of the parts that use it, in order."""
    uses: dict[str, dict[str, None]] = defaultdict(dict)
    for section in sections:
        values = [value for table in section.tables for row in table.rows for value in row.values()]
        named = [value.runs for value in values if isinstance(value, Number)]
        for runs in (*named, *(picture.runs for picture in section.pictures)):
            for path in runs:
                uses[path][section.name] = None
    for claim in claims:
        for path in (*claim.printed.runs, *claim.measured.runs):
            uses[path]["claims"] = None
    return uses


def _contents(
    sections: Sequence[Section], claims: Sequence[Claim], known: Mapping[str, RunRecord]
) -> str:
    lines = (
        [f'<li><span><a href="#claims">Claims</a> ({len(claims)})</span></li>'] if claims else []
    )
    for section in sections:
        files = [_files(table.name, "md", "csv", "tex") for table in section.tables]
        files += [_files(picture.name, "svg", "png") for picture in section.pictures]
        faults = (
            f' <span class="badge bad">{_faulty(section.faults)}</span>' if section.faults else ""
        )
        link = f'<a href="#{escape(section.name)}">{escape(section.heading)}</a>'
        lines.append(f"<li><span>{link}{faults}</span> <span>{' '.join(files)}</span></li>")
    lines.append(f'<li><span><a href="#runs">Runs</a> ({len(known)})</span></li>')
    listed = "\n".join(lines)
    return f'<nav id="contents">\n<h2>Contents</h2>\n<ul>\n{listed}\n</ul>\n{LEGEND}\n</nav>'


def _files(name: str, *suffixes: str) -> str:
    links = (f'<a href="{quote(name)}.{suffix}">{suffix}</a>' for suffix in suffixes)
    return f'<span class="files">{escape(name)}: {" ".join(links)}</span>'


def _faults(faults: Sequence[str]) -> str:
    if not faults:
        return ""
    lines = "".join(f"<li>{_inline(fault)}</li>" for fault in faults)
    return (
        f'<div class="faults" role="note"><strong>{_faulty(faults)}</strong><ul>{lines}</ul></div>'
    )


def _faulty(faults: Sequence[str]) -> str:
    return "1 fault" if len(faults) == 1 else f"{len(faults)} faults"


def _section(section: Section, known: Mapping[str, RunRecord]) -> str:
    return "\n".join(
        [
            f'<section id="{escape(section.name)}">\n<h2>{escape(section.heading)}</h2>',
            _faults(section.faults),
            _prose(section.text),
            *(_table(table, known) for table in section.tables),
            *(_picture(picture, known) for picture in section.pictures),
            "</section>",
        ]
    )


def _picture(picture: Picture, known: Mapping[str, RunRecord]) -> str:
    data = b64encode(picture.svg.encode()).decode()
    image = f'<img alt="{escape(picture.title)}" src="data:image/svg+xml;base64,{data}">'
    runs = [path for path in picture.runs if path in known]
    drawn = _sources(f"drawn from {_count(runs)}", picture.title, runs, known) if runs else ""
    return (
        f'<figure>\n<a href="{quote(picture.name)}.svg">{image}</a>\n<figcaption>'
        f"{_caption(picture.title, picture.caption)} {drawn} {_files(picture.name, 'svg', 'png')}"
        "</figcaption>\n</figure>"
    )


def _table(table: Table, known: Mapping[str, RunRecord]) -> str:
    kinds = {
        c.name: " ".join(
            ["text" if table.is_text(c) else "number", *(["printed"] if c.printed else [])]
        )
        for c in table.columns
    }
    rows = [
        (
            [
                _value(column, row.get(column.name), kinds[column.name], known, k == 0, row)
                for k, column in enumerate(table.columns)
            ],
            bool(row.get("notes")),
        )
        for row in table.rows
    ]
    caption = f"{_caption(table.title, table.caption)} {_files(table.name, 'md', 'csv', 'tex')}"
    heads = [(column.heading, kinds[column.name]) for column in table.columns]
    return _grid(table.title, caption, heads, rows)


def _grid(
    title: str,
    caption: str,
    heads: Sequence[tuple[str, str]],
    rows: Sequence[tuple[Sequence[str], bool]],
) -> str:
    """Return a sortable table: headings and their classes, rows of cells and whether noted."""
    head = "".join(
        f'<th scope="col" class="{kind}"><button type="button">{escape(text)}</button></th>'
        for text, kind in heads
    )
    starts = ("<tr>", '<tr class="noted">')
    lines = "\n".join(f"{starts[noted]}{''.join(cells)}</tr>" for cells, noted in rows)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(title)}">\n'
        f'<table class="sortable"><caption><div>{caption}</div></caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>"
    )


def _value(
    column: Column,
    value: Value,
    kind: str,
    known: Mapping[str, RunRecord],
    head: bool = False,
    row: Mapping[str, Value] | None = None,
) -> str:
    """Return a cell. Its data-value has every digit; a missing value has none.

    The head of a row that has notes bears a mark: the notes may be out of sight at its end.
    """
    text = column.shown(value)
    if value is None or isinstance(value, str):
        note = escape(str(row.get("notes") or "")) if head and row else ""
        mark = f' <abbr class="mark" title="{note}">!</abbr>' if note else ""
        return _cell(escape(text) + mark, kind, head=head, missing=not value)
    number = value if isinstance(value, Number) else Number(value)
    if math.isnan(number.value):
        return _cell(escape(text), kind, missing=True)
    exact = repr(float(number.value))
    if number.spread is not None:
        exact += f" ± {float(number.spread)!r}"
    runs = [path for path in number.runs if path in known]
    shown = (
        _sources(text, exact, runs, known)
        if runs
        else f'<span title="{exact}">{escape(text)}</span>'
    )
    return _cell(shown, kind, value=float(number.value))


def _cell(
    content: str, kind: str, head: bool = False, missing: bool = False, value: float | None = None
) -> str:
    tag, scope = ("th", ' scope="row"') if head else ("td", "")
    more = " data-missing" if missing else ""
    if value is not None:
        more = f' data-value="{repr(value).replace("inf", "Infinity")}"'
    letters = len(re.sub("<[^>]*>", "", content))
    wraps = " long" if "text" in kind and letters > 36 else ""
    return f'<{tag}{scope} class="{kind}{wraps}"{more}>{content}</{tag}>'


def _sources(text: str, title: str, runs: Sequence[str], known: Mapping[str, RunRecord]) -> str:
    """Return a text that leads to its run, or to a list of its runs."""
    anchors = [known[path].anchor for path in runs]
    several = f' data-runs="{" ".join(anchors)}"' if len(runs) > 1 else ""
    told = f"{title} (run {runs[0]})" if len(runs) == 1 else f"{title} ({_count(runs)})"
    return f'<a href="#{anchors[0]}"{several} title="{escape(told)}">{escape(text)}</a>'


def _count(runs: Sequence[str]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs)} runs"


def _ledger(claims: Sequence[Claim], known: Mapping[str, RunRecord]) -> str:
    heads = [(text, "text") for text in ("#", "Claim", "As printed", "As measured", "Where")]
    rows = [
        (
            [
                f'<th scope="row" class="text" id="claim-{escape(c.name)}">{escape(c.name)}</th>',
                f'<td class="text long">{_inline(c.text)}</td>',
                *(
                    f'<td class="text long">{_finding(f, known)}</td>'
                    for f in (c.printed, c.measured)
                ),
                _cell(escape(c.where), "text", missing=not c.where),
            ],
            False,
        )
        for c in claims
    ]
    counts, words = "", [*TONES, ""]
    for heading, found in (
        ("By the printed numbers", Counter(claim.printed.verdict for claim in claims)),
        ("By the measured numbers", Counter(claim.measured.verdict for claim in claims)),
    ):
        ordered = sorted(found.items(), key=lambda each: words.index(_first(each[0])))
        badges = " ".join(_badge(verdict, f" {n}") for verdict, n in ordered)
        counts += f"<dt>{heading}</dt><dd>{badges}</dd>"
    caption = _caption("The claims", CAPTION)
    table = _grid("Claims", caption, heads, rows)
    return f'<section id="claims">\n<h2>Claims</h2>\n<dl>{counts}</dl>\n{table}\n</section>'


def _finding(finding: Finding, known: Mapping[str, RunRecord]) -> str:
    runs = [path for path in finding.runs if path in known]
    told = _sources(_count(runs), finding.figures or finding.verdict, runs, known) if runs else ""
    lines = [_inline(line) for line in finding.figures.splitlines()]
    first, more = "<br>".join(lines[:SHOWN]), "<br>".join(lines[SHOWN:])
    if more:
        more = f"<details><summary>{len(lines) - SHOWN} more</summary>{more}</details>"
    return f"{_badge(finding.verdict)} {first} {told}{more}"


def _badge(verdict: str, more: str = "") -> str:
    tone = TONES.get(_first(verdict), "plain")
    return f'<span class="badge {tone}">{escape(verdict + more)}</span>'


def _first(verdict: str) -> str:
    """Return the first word of a verdict if it is one of TONES, or else nothing."""
    word = verdict.partition(" ")[0].lower()
    return word if word in TONES else ""


def _runs_table(runs: Sequence[RunRecord]) -> str:
    names = [n for n in ("test/accuracy", "test/ece") if any(n in run.metrics for run in runs)]
    columns = [Column("seed", "Seed", digits=0), *(Column(name, name) for name in names)]
    heads = [(text, "text") for text in ("Run", "State", "Data")]
    heads += [(column.heading, "number") for column in columns]
    heads += [(text, "text") for text in ("Ended", "Device", "Revision")]
    rows = []
    for run in runs:
        state = escape(run.state)
        if run.state != "finished":
            state = f'<span class="badge bad">{state}</span>'
        numbers: dict[str, Value] = {**run.metrics, "seed": run.seeds.get("seed")}
        ended = run.when[:16].replace("T", " ")
        cells = [
            _cell(f'<a href="#{run.anchor}">{escape(run.path)}</a>', "text", head=True),
            _cell(state, "text"),
            _cell(escape(run.dataset), "text", missing=not run.dataset),
            *(_value(column, numbers.get(column.name), "number", {}) for column in columns),
            *(
                _cell(escape(fact), "text", missing=not fact)
                for fact in (ended, run.device, _short(run.revision))
            ),
        ]
        rows.append((cells, False))
    return _grid("Runs", _caption(f"All {len(runs)} runs", "Details below."), heads, rows)


def _short(revision: str) -> str:
    return re.sub(r"^([0-9a-f]{10})[0-9a-f]+", r"\1", revision)


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _record(run: RunRecord, uses: Mapping[str, str]) -> str:
    """Return the details of a run; `uses` are the parts that it is used in, name -> heading."""
    used = ", ".join(f'<a href="#{escape(n)}">{escape(h)}</a>' for n, h in uses.items())
    sums = "".join(
        f"<div>{escape(n)} <code>{escape(v)}</code></div>" for n, v in run.fingerprints.items()
    )
    facts = {
        "Command": f'<code class="command">{escape(run.command)}</code>',
        "Directory": f'<code class="command">{escape(run.path)}</code>',
        "State": escape(", ".join(filter(None, (run.state, run.when)))),
        "Data": escape(run.dataset),
        "Revision": f"<code>{escape(run.revision)}</code>" if run.revision else "",
        "Seeds": escape(_listed(run.seeds)),
        "Device": escape(run.device),
        **{escape(name): escape(value) for name, value in run.more.items()},
        "Packages": escape(_listed(run.packages)),
        "sha256 of": sums,
        "Used in": used,
    }
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items() if value)
    metrics = "".join(
        f"<tr><th>{escape(n)}</th><td>{v}</td></tr>\n" for n, v in run.metrics.items()
    )
    inner = ""
    if metrics:
        inner += (
            f"<details><summary>Metrics ({len(run.metrics)})</summary>"
            f'<div class="wide" tabindex="0"><table class="metrics">\n{metrics}</table></div>'
            "</details>"
        )
    if run.config:
        inner += (
            "<details><summary>Configuration</summary>"
            f'<pre tabindex="0">{escape(run.config)}</pre></details>'
        )
    return (
        f'<details class="run" id="{run.anchor}"><summary>{escape(run.path)}</summary>'
        f"<dl>{listed}</dl>{inner}</details>"
    )


def _caption(title: str, text: str) -> str:
    stop = "" if title.endswith((".", "?", "!")) else "."
    return f"<strong>{escape(title)}{stop}</strong> {_inline(text)}"


def _prose(text: str) -> str:
    """Return paragraphs."""
    found: Iterable[str] = filter(None, (part.strip() for part in re.split(r"\n\s*\n", text)))
    return "\n".join(f"<p>{_inline(part)}</p>" for part in found)


def _inline(text: str) -> str:
    """Return a text with its `code` and its addresses marked."""
    marked = []
    for k, part in enumerate(re.split(r"`([^`]+)`", text)):
        if k % 2:
            marked.append(f"<code>{escape(part)}</code>")
            continue
        for j, piece in enumerate(re.split(r"(https?://[^\s<>\"')]+[\w/])", part)):
            inner = escape(piece)
            marked.append(f'<a href="{inner}">{inner}</a>' if j % 2 else inner)
    return "".join(marked)
