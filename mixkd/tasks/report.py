"""`mixkd report`: tables, figures, claims and one page, from run directories. Needs no torch."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mixkd.config.overrides import by_key
from mixkd.config.shipped import experiment
from mixkd.console import in_one_line, say
from mixkd.errors import UserError, nearest
from mixkd.files.writing import write_text
from mixkd.report.assignment import read_results
from mixkd.report.page import page
from mixkd.report.plan import Reproduction, made_folder, manifest
from mixkd.report.results import Results
from mixkd.report.sections import networks_table, run_record, write_section

INTRO = "Runs of mixkd. What they are is read from their configurations."
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


def write_report(root: Path, reproduction: Reproduction | None, out: Path) -> str:
    """Write tables, figures, claims and index.html; return a few lines on them.

    Args:
        root: a folder of runs.
        reproduction: what has been planned there; None: what its runs are is read from them.
        out: where to write.
    """
    paper = experiment("paper.report")
    results = read_results(root, reproduction, paper.teachers())
    if not results.found and not results.expected:
        raise UserError.of("runs", f"{root} holds no runs; takes {KEYS['runs']}")
    about = reproduction.about if reproduction else ""
    table = networks_table(results, about)
    networks = write_section("networks", table.title, [table], out=out)
    made = made_folder(root, reproduction.scale if reproduction else "none")
    of_paper = paper.write_paper(results, made, out)
    sections = [*of_paper.sections, networks]
    text = page(
        f"mixkd: {f'reproduction, scale {reproduction.scale}' if reproduction else 'runs'}",
        paper.intro(reproduction) if reproduction else INTRO,
        sections,
        of_paper.claims,
        [run_record(run, results) for run in results.found],
        results.faults() if reproduction is None else (),
        of_paper.about_claims,
    )
    write_text(out / "index.html", text)
    names = ", ".join(section.name for section in sections)
    return "\n".join([f"{out}/index.html: {names}", of_paper.summary, *_problems(results)])


def _problems(results: Results) -> Iterator[str]:
    """Yield what is missing, and what is wrong with the runs, in lines."""
    planned = {run.command: slot in results.slots for slot, run in results.expected.items()}
    if missing := list(planned.values()).count(False):
        yield f"{missing} of {len(planned)} runs are missing"
    if faulty := {results.slots[slot].path for slot in results.notes if slot in results.slots}:
        yield f"{len(faulty)} runs have faults: the page lists them"
    for run in results.found:
        yield from (in_one_line(f"{run.path}: {text}") for text in run.damaged)
