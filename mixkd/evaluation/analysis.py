"""What `mixkd evaluate` measures beside calibration: an `Analysis`, of which each has a file here.

The file NAME.py holds a section of keys, an `AnalysisConfig`, and an `Analysis` of it; its default
keys are conf/analysis/NAME.yaml. It imports torch only where it works, so that commands that print
something at once can ask it for its keys, its files and its cost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mixkd.config.analyses import AnalysisConfig, defined_in
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


def analyses_of(cfg: EvaluateConfig) -> list[Analysis[Any]]:
    """Return the analyses that a configuration asks for."""
    return [analysis_of(name)(section) for name, section in cfg.analyses.items()]
