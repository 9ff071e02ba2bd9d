"""Keep a study's small files: `python -m experiments.publish scale=NAME out=DIR [runs=DIR]`.

Of every finished run of a reproduction what says what it was and what it found, without weights and
checkpoints; of the training of each network's first seed the predictions too, in single precision.
It goes to OUT/kept, of which `mixkd report runs=OUT/kept` makes the report anew; tables and figures
of that report go to OUT. Paired tests in it are of the first seeds alone. What needs no run, as
Figure 2, is left out.
"""

import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from mixkd.config.overrides import by_key
from mixkd.config.shipped import artefacts
from mixkd.console import printable, say, tell
from mixkd.errors import UserError
from mixkd.files.arrays import read_arrays
from mixkd.files.layout import (
    CONFIG,
    HISTORY,
    METRICS,
    PROVENANCE,
    RELIABILITY,
    STATUS,
    TEST_PREDICTIONS,
)
from mixkd.files.reading import Damaged, read_mapping, read_text
from mixkd.files.writing import replacing, replacing_folder, write_json, write_text
from mixkd.metrics.paired import NEEDED
from mixkd.report.plan import Expected, Reproduction, manifest
from mixkd.reproduction.study import load_artefact
from mixkd.tasks.report import write_report

KEYS = {
    "scale": "the name of the reproduction's scale",
    "runs": "the folder of its runs; runs unless given",
    "out": "a folder for what is kept",
}
FEATURES = "features.npz"
KEPT_FILES = (CONFIG, PROVENANCE, METRICS, HISTORY, "vicinal.csv")
# Their arrays, without those that are large, or in no table.
KEPT_ARRAYS = {
    TEST_PREDICTIONS: NEEDED,
    FEATURES: ("index", "label", "position", "cluster", "tsne", "classes"),
}
REPORT_SUFFIXES = {".md", ".csv", ".png"}  # of a report
OF_ALL = {"claims", "networks", "bounds"}  # a report's tables that are no artefact's
OF_ONE_SEED = "Predictions are kept of first seeds: paired tests are of those alone."
Content = TypeVar("Content")

# Of status.json, what is not of one machine and moment.
KEPT_STATUS = ("state", "started", "ended", "stage", "epoch", "max_epochs")


def main(overrides: Sequence[str]) -> str:
    """Keep what is small, write the report on it, and return a few lines on it.

    Raises:
        UserError: for a mistake in the overrides, or where there is no such reproduction.
    """
    given = by_key(overrides, KEYS)
    for key in ("scale", "out"):
        if key not in given:
            raise UserError.of(key, f"is missing; takes {KEYS[key]}")
    root, out = Path(given.get("runs", "runs")), Path(given["out"])
    record = manifest(root, given["scale"])
    if not record.is_file():
        raise UserError.of("scale", f"{record} is missing; takes {KEYS['scale']}")
    reproduction = Reproduction.read(record)
    kept = out / "kept"
    if root.resolve().is_relative_to(out.resolve()):
        raise UserError.of("out", f"got {str(out)!r}, which holds {root}; takes {KEYS['out']}")
    if kept.is_dir() and any(kept.iterdir()) and not list(kept.glob("reproduction-*.json")):
        text = f"{kept} holds files that are no study's; takes another folder"
        raise UserError.of("out", text)
    finished = list(finished_runs(root, reproduction.expected))
    if not finished:
        raise UserError.of("runs", f"no run of {record} has finished; takes {KEYS['runs']}")
    shown = [name for name in reproduction.artefacts if load_artefact(name).needs_runs]
    about = f"{reproduction.about} {OF_ONE_SEED}"
    reproduction = replace(reproduction, artefacts=tuple(shown), about=about)
    with replacing_folder(kept) as new:
        for run in finished:
            is_training = run.kind == "training"
            is_first = run.seed == first_seed(finished, run)
            keep(root / run.path, new / run.path, is_training, is_training and is_first)
        write_json(manifest(new, reproduction.scale), reproduction.as_json())
    with TemporaryDirectory() as folder:
        summary = write_report(kept, reproduction, Path(folder)).splitlines()[1:]  # not of the page
        for stale in filter(is_of_a_report, out.iterdir()):
            stale.unlink()
        for path in Path(folder).iterdir():
            if path.suffix in REPORT_SUFFIXES:
                with replacing(out / path.name) as temporary:
                    shutil.copyfile(path, temporary)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return "\n".join([*summary, f"{len(finished)} runs kept, {size / 1e6:.1f} MB in {out}"])


def is_of_a_report(path: Path) -> bool:
    """Return whether a file is one that a report writes: a table or a figure, by its name."""
    name = path.stem.removesuffix("-paired").removesuffix("-numbers")
    return path.suffix in REPORT_SUFFIXES and (name in artefacts() or name in OF_ALL)


def finished_runs(root: Path, expected: Sequence[Expected]) -> Iterator[Expected]:
    """Yield the planned runs that have finished, each directory once."""
    seen = set()
    for run in expected:
        if not run.path or run.path in seen:
            continue
        seen.add(run.path)
        status = sound(partial(read_mapping, within=root), root / run.path / STATUS)
        if status is not None and status.get("state") == "finished":
            yield run


def first_seed(runs: Sequence[Expected], like: Expected) -> int:
    """Return the first seed of a network's runs of a kind."""
    return min(run.seed for run in runs if (run.subject, run.kind) == (like.subject, like.kind))


def keep(run: Path, place: Path, is_training: bool, with_predictions: bool) -> None:
    """Copy the small files of a run directory; the home folder in them becomes ~."""
    home = re.compile(rf"(?<![\w./-]){re.escape(str(Path.home()))}/")
    # An evaluation of the same network has reliability.csv again.
    for name in [*KEPT_FILES, *([RELIABILITY] if is_training else [])]:
        if (text := sound(read_text, run / name)) is not None:
            write_text(place / name, home.sub("~/", text))
    status = read_mapping(run / STATUS)
    plain = {k: status[k] for k in KEPT_STATUS if isinstance(status.get(k), str | int)}
    write_json(place / STATUS, plain)
    for name in [FEATURES, *([TEST_PREDICTIONS] if with_predictions else [])]:
        content = sound(partial(read_arrays, names=KEPT_ARRAYS[name], within=run), run / name)
        if content is not None:
            arrays = {key: smaller(array) for key, array in content.items()}
            with replacing(place / name) as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def sound(read: Callable[[Path], Content], path: Path) -> Content | None:
    """Return what a file holds; None where it is not there, or is damaged, which is told."""
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except Damaged as error:
        say(f"left out: {error}")
        return None


def smaller(array: np.ndarray) -> np.ndarray:
    """Return floats as float32, and whole numbers in the smallest type that holds them."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind in "iu" and array.min(initial=0) >= 0:
        return array.astype(np.min_scalar_type(array.max(initial=0)))
    return array


if __name__ == "__main__":
    try:
        tell(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(printable("\n".join(f"publish: {problem}" for problem in error.problems)))
