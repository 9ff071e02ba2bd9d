"""What `mixkd reproduce` takes: artefacts, keys of its own, and overrides for their runs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from mixkd.config.shipped import artefacts
from mixkd.errors import UserError

Plan = Literal["true", "false", "runs"]
KEYS = {
    "scale": "smoke, laptop, paper, or a .yaml file",
    "protocol": "corrected or parity",
    "seeds": "whole numbers, 0,1,2: the students'",
    "runs": "a folder for the runs",
    "out": "a folder for tables and figures",
    "plan": "true, false, or runs: print what there is to do, and stop",
}


@dataclass(frozen=True)
class ReproduceConfig:
    """Artefacts to reproduce.

    Attributes:
        artefacts: their names, each once; `all` stands for all that the scale does not leave out.
        scale: the name of a scale, or a .yaml file.
        protocol: of their trainings.
        seeds: of the students; none: those of the scale.
        runs: the folder of the runs.
        out: the folder for tables and figures; None: reports/<scale>.
        plan: `true` prints what there is to do and stops, `runs` with a line a run.
        overrides: KEY=VALUE for every command that has the key, COMMAND.KEY=VALUE for one.
    """

    artefacts: tuple[str, ...]
    scale: str = "smoke"
    protocol: str = "corrected"
    seeds: tuple[int, ...] = ()
    runs: Path = Path("runs")
    out: Path | None = None
    plan: Plan = "false"
    overrides: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of its artefacts, with `all` written out."""
        return list(artefacts()) if "all" in self.artefacts else list(self.artefacts)

    @classmethod
    def parse(cls, words: Sequence[str]) -> "ReproduceConfig":
        """Read `ARTEFACT... [scale=NAME] [protocol=NAME] [seeds=0,1] ...`, and overrides of runs.

        Raises:
            UserError: if no artefact is named, or for a plan or seeds that are none.
        """
        names = tuple(dict.fromkeys(word for word in words if "=" not in word))
        pairs = [word.partition("=") for word in words if "=" in word]
        given = {key: value for key, _, value in pairs if key in KEYS}
        plan = given.get("plan", "false")
        if plan not in get_args(Plan):
            raise UserError.of("plan", f"got {plan!r}; takes {KEYS['plan']}")
        if not names:
            takes = f"takes {', '.join(artefacts())}, all"
            raise UserError.of("artefact", f"none given; {takes}")
        return cls(
            names,
            given.get("scale", cls.scale),
            given.get("protocol", cls.protocol),
            _seeds(given.get("seeds", "")),
            Path(os.path.expanduser(given.get("runs", "runs"))),
            Path(os.path.expanduser(given["out"])) if given.get("out") else None,
            cast(Plan, plan),
            tuple(f"{key}={value}" for key, _, value in pairs if key not in KEYS),
        )


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in text.strip("[]").split(",") if part)
    except ValueError:
        seeds = (-1,)
    if any(seed < 0 for seed in seeds) or len(set(seeds)) < len(seeds):
        raise UserError.of("seeds", f"got {text!r}; takes whole numbers, each once, such as 0,1,2")
    return seeds
