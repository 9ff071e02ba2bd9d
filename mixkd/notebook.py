"""The commands as functions, for notebooks: they return metrics and tables, and raise ValueErrors.

Each does what the command of its name does in a shell, in the same run directories: what has
finished is not done again.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixkd.config.commands import CompareConfig, ReportConfig
from mixkd.config.overrides import written
from mixkd.errors import UserError
from mixkd.launchers.job import perform
from mixkd.runs.read import read_run
from mixkd.tasks.compare import differences
from mixkd.tasks.report import report as write_report


@dataclass(frozen=True)
class FinishedRun:
    """A run directory, and the metrics in it.

    Attributes:
        path: the directory.
        metrics: `{"test/accuracy": 0.81, ...}`, fractions and nats, as in metrics.json.

    Examples:
        >>> from mixkd import FinishedRun
        >>> run = FinishedRun(Path("runs/digits/finetune/resnet20"), {"test/accuracy": 0.81})
        >>> run["test/accuracy"]
        0.81
    """

    path: Path
    metrics: Mapping[str, float]

    def __getitem__(self, metric: str) -> float:
        """Return a metric by its name."""
        return self.metrics[metric]

    def table(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a CSV file of the run: history, reliability, vicinal, corruptions.

        Raises:
            ValueError: if the run has no such file.
        """
        names = sorted(file.stem for file in self.path.glob("*.csv"))
        if name not in names:
            raise UserError.of("table", f"got {name!r}; {self.path} has {', '.join(names)}")
        return read_run(self.path.parent, self.path).rows(f"{name}.csv")


def finetune(*overrides: str, **values: Any) -> FinishedRun:
    """Train a network from labels, as `mixkd finetune` does; return its run.

    Args:
        overrides: as in the shell, `"data=cifar10"`, `"optimizer.lr=0.1"`.
        values: the same by keywords, a section as a mapping: `optimizer={"lr": 0.1}`.

    Raises:
        ValueError: with every problem found, each naming its key, what it got and what it takes.

    Examples:
        >>> from mixkd import finetune
        >>> # run = finetune("network=resnet20", data="cifar10", optimizer={"lr": 0.1})
        >>> # run["test/accuracy"], run.table("history")
    """
    return _run("finetune", overrides, values)


def distill(*overrides: str, **values: Any) -> FinishedRun:
    """Train a student from its teacher, as `mixkd distill` does; see `finetune`.

    Args:
        overrides: as in the shell.
        values: the same by keywords, a section as a mapping.

    Examples:
        >>> from mixkd import distill
        >>> # run = distill(teacher={"run": teacher}, student="mobilenetv2", temperature="sigma")
        >>> # run.metrics["test/ece"]
    """
    return _run("distill", overrides, values)


def evaluate(*overrides: str, **values: Any) -> FinishedRun:
    """Measure a trained network, as `mixkd evaluate` does; see `finetune`.

    Args:
        overrides: as in the shell.
        values: the same by keywords, a section as a mapping; a run in place of its directory.

    Examples:
        >>> from mixkd import evaluate
        >>> # run = evaluate(network={"run": student}, teacher={"run": teacher}, vicinal=True)
        >>> # run.table("vicinal")
    """
    return _run("evaluate", overrides, values)


def compare(
    network: FinishedRun | str | Path,
    other: FinishedRun | str | Path,
    *,
    split: str = "test",
    draws: int = 2000,
) -> list[dict[str, Any]]:
    """Return the paired differences of two runs, network minus other, a row a metric.

    A row holds `metric`, `network`, `other`, `difference`, `95% low`, `95% high` and `p`.

    Args:
        network: a finished run.
        other: another, with predictions of the same images.
        split: whose predictions.
        draws: bootstrap samples.

    Raises:
        ValueError: for runs without predictions of the same images.

    Examples:
        >>> from mixkd import compare
        >>> # for row in compare(student, baseline): print(row["metric"], row["difference"])
    """
    words = [f"network.run={_text(network)}", f"other.run={_text(other)}"]
    config = CompareConfig.parse([*words, f"split={split}", f"draws={draws}"])
    return differences(config).rows


def report(
    runs: str | Path = "runs", *, out: str | Path | None = None, scale: str | None = None
) -> Path:
    """Write the report on a folder of runs, as `mixkd report` does; return its page.

    Args:
        runs: the folder of runs.
        out: where to; None: reports/<scale>, or reports/runs.
        scale: of a reproduction whose runs are there; None: the latest one.

    Raises:
        ValueError: for a folder without runs, or a reproduction that is not there.

    Examples:
        >>> from mixkd import report
        >>> # page = report("runs")
        >>> # print(page.read_text()[:20])
    """
    config = ReportConfig(Path(runs), None if out is None else Path(out), scale)
    return Path(write_report(config).partition(":")[0])


def _run(command: str, overrides: tuple[str, ...], values: Mapping[str, Any]) -> FinishedRun:
    arguments = [*overrides, *_overrides(values)]
    with _typed(command, arguments):
        outcome = perform(command, arguments)
    if outcome.status:  # of a teacher that was to be trained first
        raise UserError.of("teacher", outcome.reason)
    return FinishedRun(Path(outcome.path), outcome.metrics)


def _overrides(values: Mapping[str, Any], under: str = "") -> Iterator[str]:
    """Yield the overrides that keyword arguments stand for."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _overrides(value, f"{under}{name}.")
        else:
            yield f"{under}{name}={_text(value)}"


def _text(value: Any) -> str:
    """Return a value as it is written in an override."""
    if isinstance(value, FinishedRun):
        return str(value.path)
    return str(value) if isinstance(value, (str, Path)) else written(value)


@contextmanager
def _typed(command: str, overrides: list[str]) -> Iterator[None]:
    """Let provenance.json hold the command that does the same in a shell."""
    before, sys.argv = sys.argv, ["mixkd", command, *overrides]
    try:
        yield
    finally:
        sys.argv = before
