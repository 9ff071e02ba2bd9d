"""What a reproduction has planned, as it is written down beside its runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, StrictInt, TypeAdapter

from mixkd.config.analyses import analysis_names
from mixkd.config.messages import first_fault
from mixkd.errors import UserError
from mixkd.files.writing import read_json
from mixkd.report.cells import Exclusion, Subject

STRICT = ConfigDict(extra="forbid")
KINDS = ("training", *analysis_names())


def _is_kind(name: str) -> str:
    if name not in KINDS:
        raise ValueError(f"Input should be {', '.join(KINDS)}")
    return name


Kind = Annotated[str, AfterValidator(_is_kind)]


@dataclass(frozen=True)
class Expected:
    """A run that a reproduction has planned, and the artefacts that it feeds.

    `command` makes it, as typed in a shell; of what uses runs that are missing it is a part. `path`
    is of its directory, relative to the folder of runs; "" while it is not known.
    """

    __pydantic_config__ = STRICT

    subject: Subject
    seed: StrictInt
    kind: Kind
    command: str
    path: str
    artefacts: tuple[str, ...]


@dataclass(frozen=True)
class Reproduction:
    """What a reproduction has written down beside its runs.

    `about` is a sentence on the scale. `data` are the names in runs of what stands for the paper's
    data sets; `datasets`, `teachers` and `student` say the same for people. `settings`, a sha256,
    tells it from one of other settings; `overrides` are the user's own, for captions.
    """

    __pydantic_config__ = STRICT

    scale: str
    protocol: str
    about: str
    artefacts: tuple[str, ...]
    data: Mapping[str, str]
    datasets: Mapping[str, str]
    teachers: Mapping[str, str]
    student: str
    expected: tuple[Expected, ...]
    settings: str = ""
    overrides: tuple[str, ...] = ()
    leaves_out: tuple[Exclusion, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Reproduction":
        """Read reproduction-<scale>.json.

        Raises:
            UserError: if it is damaged.
        """
        raw = read_json(path, "runs")
        try:
            plan = _FORM.validate_python(raw)
            if manifest(path.parent, plan.scale) != path:  # it names folders
                raise ValueError(f"its scale is {plan.scale!r}")
            for place in (PurePath(run.path) for run in plan.expected):
                if place.is_absolute() or ".." in place.parts:
                    raise ValueError(f"{str(place)!r} is no place in {path.parent}")
        except ValueError as error:
            text = f"{path} is damaged ({first_fault(error)}); mend or remove it"
            raise UserError.of("runs", text) from error
        return plan

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        values: dict[str, Any] = _FORM.dump_python(self, mode="json", exclude_none=True)
        return values

    def goes_without(self, subject: Subject) -> bool:
        """Return whether the scale leaves a network out."""
        return any(left_out.holds(subject) for left_out in self.leaves_out)


_FORM = TypeAdapter(Reproduction)


def manifest(folder: Path, scale: str) -> Path:
    """Return where a reproduction writes down what it has planned."""
    return folder / f"reproduction-{scale}.json"


def made_folder(folder: Path, scale: str) -> Path:
    """Return where a reproduction keeps what no run gives."""
    return folder / f"reproduction-{scale}"
