"""What `mixkd evaluate` measures beside calibration: an `Analysis`, of which each has a file here.

The file NAME.py holds a section of keys, an `AnalysisConfig`, and an `Analysis` of it; its default
keys are conf/analysis/NAME.yaml. It imports torch only where it works, so that commands that print
something at once can ask it for its keys, its files and its cost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from mixkd.config.analyses import AnalysisConfig, defined_in
from mixkd.config.parts import PartConfig
from mixkd.errors import UserError, first_line
from mixkd.files.layout import FIGURES

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from matplotlib.figure import Figure

    from mixkd.config.tasks import EvaluateConfig
    from mixkd.data.module import ImageDataModule
    from mixkd.data.splits import Splits
    from mixkd.networks.network import Network
    from mixkd.runs.read import FoundRun
    from mixkd.runs.run import Metrics, Run

C = TypeVar("C", bound=AnalysisConfig)


@dataclass(frozen=True)
class Context:
    """What an evaluation hands to its analyses.

    `networks` are `network`, or `student` and `teacher`, and then the baselines; the first is the
    one that is evaluated. `temperatures` are of those for which there were images to fit on.
    """

    cfg: EvaluateConfig
    trainer: Trainer
    networks: Mapping[str, Network]
    temperatures: Mapping[str, float]
    data: ImageDataModule
    run: Run

    @property
    def evaluated(self) -> str:
        """The name of the network that is evaluated."""
        return next(iter(self.networks))

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.trainer.is_global_zero

    def save_figure(self, figure: Figure, name: str) -> None:
        """Write a figure, as png and svg, into the run directory."""
        from mixkd.plots.style import save_figure

        save_figure(figure, self.run.path / FIGURES / name)


class Analysis(ABC, Generic[C]):
    """One analysis, as its section of keys asks for it."""

    def __init__(self, section: C) -> None:
        self.section = section

    @abstractmethod
    def prepare(self, cfg: EvaluateConfig, splits: Splits) -> None:
        """Look at the data before anything is computed.

        Raises:
            UserError: if the analysis cannot be made of them.
        """

    @classmethod
    def derived(cls, run: FoundRun) -> dict[str, float]:
        """Return what follows from the files of a run, under names of metrics, for reports."""
        return {}

    @abstractmethod
    def measure(self, context: Context) -> Metrics:
        """Return its metrics, whose names begin with the section's `prefix`; write its files."""


def analysis_of(name: str) -> type[Analysis[Any]]:
    """Return an analysis by its name."""
    return defined_in(name, Analysis)  # type: ignore[type-abstract]


class Measures(Protocol):
    """What takes part in an evaluation: a shipped analysis, or one that a user brings."""

    def prepare(self, cfg: EvaluateConfig, splits: Splits) -> None:
        """Look at the data; raise a UserError if nothing can be measured of them."""

    def measure(self, context: Context) -> Metrics:
        """Return metrics by name."""


class OwnAnalysis:
    """An analysis of the user's: an object with `measure(context)`, and `prepare` if it has one.

    Its metrics bear its name before their own.
    """

    def __init__(self, name: str, part: PartConfig) -> None:
        from mixkd.parts import made

        self.name, self.key = name, f"analyses.{name}"
        self.analysis = made(part, self.key)
        if not callable(getattr(self.analysis, "measure", None)):
            text = f"{part.factory} gives {type(self.analysis).__name__}, without measure(context)"
            raise UserError.of(f"{self.key}.factory", text)

    def prepare(self, cfg: EvaluateConfig, splits: Splits) -> None:
        """Let it look at the data."""
        if hasattr(self.analysis, "prepare"):
            self.analysis.prepare(cfg, splits)

    def measure(self, context: Context) -> Metrics:
        """Return its metrics.

        Raises:
            UserError: if they are no numbers by name.
        """
        metrics = self.analysis.measure(context)
        if not isinstance(metrics, Mapping):
            text = f"measure gave {type(metrics).__name__}; takes numbers by name, {{name: number}}"
            raise UserError.of(self.key, text)
        try:
            return {f"{self.name}/{name}": float(value) for name, value in metrics.items()}
        except (TypeError, ValueError) as error:
            raise UserError.of(self.key, f"measure gave no numbers: {first_line(error)}") from error


def analyses_of(cfg: EvaluateConfig) -> list[Measures]:
    """Return the analyses that a configuration asks for, shipped ones first."""
    return [*shipped_of(cfg), *(OwnAnalysis(name, part) for name, part in cfg.analyses.items())]


def shipped_of(cfg: EvaluateConfig) -> list[Analysis[Any]]:
    """Return the shipped analyses that a configuration asks for."""
    return [analysis_of(name)(section) for name, section in cfg.shipped_analyses.items()]
