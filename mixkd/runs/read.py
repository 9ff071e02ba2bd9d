"""Run directories as they are found, whatever state they are in."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mixkd.config.analyses import AnalysisConfig, analysis_names, section_of_analysis
from mixkd.config.fields import PLACE, REPEAT, pruned
from mixkd.config.tasks import TASKS, EvaluateConfig
from mixkd.config.validation import without_void
from mixkd.files import layout
from mixkd.files.arrays import read_arrays
from mixkd.files.reading import Damaged, folders_with, is_number, read_mapping, read_rows
from mixkd.metrics.feasible import impossible, is_possible
from mixkd.metrics.paired import ARRAYS, Predictions, expected_calibration_error, unfit
from mixkd.networks.origin import with_moved
from mixkd.runs.identity import as_text

TOLERANCE = 1e-4  # between metrics and what the saved float32 confidences give

# What CSV files hold at least, beside those of analyses: texts, and numbers.
COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    layout.RELIABILITY: (("split",), ("count", "accuracy", "confidence")),
    layout.HISTORY: ((), ("val/accuracy",)),
}


@dataclass(frozen=True)
class FoundRun:
    """A run directory: what its files hold, empty where they are missing, and what is wrong."""

    path: str  # relative to the folder in which it was looked for
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()  # files that are missing or damaged

    @property
    def damaged(self) -> list[str]:
        """Its files that say what it is, and are there but cannot be used, a line each."""
        return [text for text in self.problems if "is damaged: " in text]

    @property
    def task(self) -> str:
        """finetune, distill or evaluate."""
        return str(self.config.get("task", ""))

    @property
    def is_finished(self) -> bool:
        """Whether it has come to its end and has metrics."""
        return self.status.get("state") == "finished" and bool(self.metrics)

    @property
    def seed(self) -> int:
        """The seed; 0 where none is known."""
        seed = self.config.get("seed")
        return seed if isinstance(seed, int) else 0

    @property
    def dataset(self) -> str:
        """The name of its data."""
        return str(self.section("data").get("name", ""))

    @property
    def selection(self) -> str:
        """What selected the epoch: holdout or test."""
        return str(self.section("data").get("selection", ""))

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the configuration, empty where there is none."""
        section = self.config.get(name)
        return section if isinstance(section, dict) else {}

    def fingerprint(self, name: str) -> str:
        """Return a sha256 of provenance.json by its name, or ""."""
        fingerprints = self.provenance.get("fingerprints")
        return str(fingerprints.get(name, "")) if isinstance(fingerprints, dict) else ""

    @property
    def images(self) -> str:
        """What tells its data from other data: the sha256 of the images, or of their listing."""
        return self.fingerprint("data") or self.fingerprint("data_files")

    @property
    def command(self) -> str:
        """The command that made it, as typed in a shell."""
        arguments = self.provenance.get("command")
        return shlex.join(map(str, arguments)) if isinstance(arguments, list) else ""

    @cached_property
    def faults(self) -> list[str]:
        """What is wrong with its files and numbers, a line each; its files are read for it."""
        faults = list(self.problems)
        for name, value in self.metrics.items():
            if name.endswith("/accuracy") and not 0 <= value <= 1:
                faults.append(f"{name} {value:g} is no fraction")
        for name in [name for name in self.metrics if name.endswith("/ece")]:
            prefix = name.removesuffix("ece")
            accuracy = self.metrics.get(f"{prefix.replace('scaled/', '')}accuracy")
            confidence = self.metrics.get(f"{prefix}confidence")
            if accuracy is None or confidence is None or "normalised" in prefix:
                continue
            if not is_possible(accuracy, confidence, self.metrics[name]):
                faults.append(impossible(accuracy, confidence, self.metrics[name], name=name))
        return faults + self._damaged() + self._disagreements()

    def _disagreements(self) -> list[str]:
        """Return where metrics.json says other than the predictions do."""
        predictions = self.predictions
        if predictions is None:
            damaged = os.path.lexists(self.folder / self.path / layout.TEST_PREDICTIONS)
            return [f"{layout.TEST_PREDICTIONS} is damaged"] if damaged else []
        counted = {
            "accuracy": float((predictions["prediction"] == predictions["label"]).mean()),
            "confidence": float(predictions["confidence"].mean(dtype=np.float64)),
            "ece": expected_calibration_error(predictions),
        }
        return [
            f"test/{name} {self.metrics[f'test/{name}']:.4f}, but its saved predictions give "
            f"{value:.4f}"
            for name, value in counted.items()
            if abs(self.metrics.get(f"test/{name}", value) - value) > TOLERANCE
        ]

    @cached_property
    def predictions(self) -> Predictions | None:
        """predictions/test.npz, or None where there is none that can be read."""
        arrays = self.arrays(layout.TEST_PREDICTIONS, ARRAYS)
        return None if unfit(arrays) else arrays

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of one of its CSV files, numbers as floats, that have its columns."""
        return self._split_rows(name)[0]

    def _split_rows(self, name: str) -> tuple[list[dict[str, Any]], bool]:
        """Return the rows of a CSV file that are whole, and whether there are any and all are."""
        texts, numbers = columns_of_files().get(name, ((), ()))
        try:
            rows = read_rows(self.folder / self.path / name)
        except (FileNotFoundError, Damaged):
            return [], False
        typed = [{key: _number(text) for key, text in row.items()} for row in rows]
        whole = [
            row
            for row in typed
            if all(isinstance(row.get(key), str) for key in texts)
            and all(isinstance(row.get(key), float) for key in numbers)
        ]
        return whole, bool(typed) and len(whole) == len(typed)

    def arrays(self, name: str, array_names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return those of the arrays that an npz file has; none where it is missing or damaged."""
        place = self.folder / self.path
        try:
            return read_arrays(place / name, array_names, place)
        except (FileNotFoundError, Damaged):
            return {}

    def shown_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return what is shown of an analysis' npz file; nothing where it is missing or damaged."""
        section = next(s for s in analysis_sections() if name in s.arrays)
        arrays = self.arrays(name, section.arrays[name])
        is_whole = not set(section.arrays[name]) - arrays.keys()
        return arrays if is_whole and section.are_sound(arrays) else {}

    @property
    def setting(self) -> str:
        """What its experiment is, whatever the seed: equal for the seeds of one row."""
        return f"{self.recipe} {self.fingerprint('teacher')}"

    @cached_property
    def recipe(self) -> str:
        """Its setting, whatever its teacher's weights are: each seed may have its own teacher."""
        schema = TASKS.get(self.task, EvaluateConfig)
        # A file of pretrained weights counts by its content, wherever it lies.
        start = self.fingerprint("start")
        kept = pruned(schema, self.config, PLACE, REPEAT, content=lambda path: start or path)
        return as_text(without_void(self.config, kept))

    def _damaged(self) -> list[str]:
        """Return which of its files are there but cannot be used."""
        place = self.folder / self.path
        tables = [name for name in columns_of_files() if os.path.lexists(place / name)]
        archives = [name for section in analysis_sections() for name in section.arrays]
        archives = [name for name in archives if os.path.lexists(place / name)]
        damaged = [name for name in tables if not self._split_rows(name)[1]]
        damaged += [name for name in archives if not self.shown_arrays(name)]
        return [f"{name} is damaged" for name in damaged]


def columns_of_files() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return what the rows of each CSV file hold at least: the names of texts, and of numbers."""
    analyses = (section.columns for section in analysis_sections())
    return {**COLUMNS, **{name: held for files in analyses for name, held in files.items()}}


def analysis_sections() -> list[type[AnalysisConfig]]:
    """Return the sections of all analyses, in order."""
    return [section_of_analysis(name) for name in analysis_names()]


def find_runs(folder: Path) -> list[FoundRun]:
    """Return every run directory under a folder, sorted by path."""
    names = (layout.CONFIG, layout.STATUS, layout.METRICS, layout.PROVENANCE)
    return [read_run(folder, path) for path in folders_with(names, folder) if path != folder]


def read_run(folder: Path, path: Path) -> FoundRun:
    """Read one run directory, whose name is its path relative to the folder."""
    problems: list[str] = []

    def read(name: str, required: bool = True) -> dict[str, Any]:
        try:
            return read_mapping(path / name, any_number=name == layout.METRICS)
        except FileNotFoundError:
            if required:
                problems.append(f"{name} is missing")
        except Damaged as error:
            problems.append(f"{name} is damaged: {error.why[:80]}")
        return {}

    config, provenance = with_moved(read(layout.CONFIG)), read(layout.PROVENANCE)
    status = read(layout.STATUS)
    metrics = read(layout.METRICS, required=status.get("state") == "finished")
    numbers: dict[str, float] = {}
    for name, value in metrics.items():
        if is_number(value):
            numbers[name] = float(value)
        else:
            problems.append(f"metrics.json: {name} is {repr(value)[:40]}, no number")
    name = str(path.relative_to(folder))
    return FoundRun(name, folder, config, provenance, status, numbers, tuple(problems))


def _number(text: str | None) -> Any:
    try:
        return float(text or "nan")
    except ValueError:
        return text
