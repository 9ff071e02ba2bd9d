"""`mixkd report`: tables, figures, claims and one page, from run directories. Needs no torch."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mixkd.config.commands import REPORT_KEYS, ReportConfig
from mixkd.config.shipped import experiment, experiments
from mixkd.console import in_one_line, say
from mixkd.errors import UserError, nearest
from mixkd.files.writing import write_text
from mixkd.report.assignment import read_results
from mixkd.report.page import page
from mixkd.report.plan import Reproduction, made_folder, manifest
from mixkd.report.results import Results
from mixkd.report.sections import analysis_tables, networks_table, run_record, write_section

INTRO = "Runs of mixkd. What they are is read from their configurations."


def report(config: ReportConfig) -> str:
    """Write the report on a folder of runs; return what was found.

    Raises:
        UserError: for a folder without runs, or a reproduction that is not there.
    """
    root, keys = config.runs, REPORT_KEYS
    if not root.is_dir():
        raise UserError.of("runs", f"got {str(root)!r}, which is no folder; takes {keys['runs']}")
    plans = filter(os.path.exists, root.glob("reproduction-*.json"))
    by_time = sorted(plans, key=lambda path: path.stat().st_mtime)
    if config.scale is not None:
        names = [path.stem.removeprefix("reproduction-") for path in by_time]
        path = manifest(root, config.scale)
        if path not in by_time:
            raise UserError.of(
                "scale",
                f"got {config.scale!r}, of which {root} has no reproduction; it has "
                f"{', '.join(names) or 'none'}{nearest(config.scale, names)}",
            )
        by_time = [path]
    reproduction = _latest(by_time, tells=config.scale is None)
    out = config.out or Path("reports", reproduction.scale if reproduction else "runs")
    if out.exists() and not out.is_dir():
        raise UserError.of("out", f"got {str(out)!r}, which is a file; takes {keys['out']}")
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
    """Write tables, figures, claims and index.html of a folder of runs; return a few lines on them.

    Without a reproduction that planned them, what the runs are is read from their configurations.
    """
    study = experiment(experiments().REPORT)
    results = read_results(root, reproduction, study.teachers())
    if not results.all_runs and not results.expected:
        raise UserError.of("runs", f"{root} holds no runs; takes {REPORT_KEYS['runs']}")
    table = networks_table(results, reproduction.about if reproduction else "")
    tables = [table, *analysis_tables(results)]
    sections = [write_section(table.name, table.title, [table], out=out) for table in tables]
    made = made_folder(root, reproduction.scale if reproduction else "none")
    of_study = study.write_parts(results, made, out)
    sections += of_study.sections
    text = page(
        f"mixkd: {f'reproduction, scale {reproduction.scale}' if reproduction else 'runs'}",
        study.intro(reproduction) if reproduction else INTRO,
        sections,
        of_study.claims,
        [run_record(run, results) for run in results.all_runs],
        results.faults() if reproduction is None else (),
        of_study.about_claims,
    )
    write_text(out / "index.html", text)
    names = ", ".join(section.name for section in sections)
    return "\n".join([f"{out}/index.html: {names}", of_study.summary, *_problems(results)])


def _problems(results: Results) -> Iterator[str]:
    """Yield what is missing, and what is wrong with the runs, in lines."""
    planned = {run.command: slot in results.slots for slot, run in results.expected.items()}
    if missing := list(planned.values()).count(False):
        yield f"{missing} of {len(planned)} runs are missing"
    if faulty := {run.path for slot, run in results.slots.items() if results.notes.get(slot)}:
        yield f"{len(faulty)} runs have faults: the page lists them"
    for run in results.all_runs:
        yield from (in_one_line(f"{run.path}: {text}") for text in run.damaged)
