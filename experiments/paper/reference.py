"""The paper's printed numbers and its claims, read from reference.yaml."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mixkd.errors import Problem, UserError
from mixkd.report.cells import Cell, Cells, Key

UNITS = {"percent": 100, "fraction": 1, "nats": 1}
ROLES, METHODS = ("teacher", "student"), ("erm", "mixup", "kd", "kd_mixup")

Kind = Literal["every", "tendency", "rank"]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Claim(_Entry):
    """What the paper says, in one sentence.

    Attributes:
        id: names its rule.
        text: the claim.
        where: sections and artefacts of the paper.
        kind: `every`: all items have to hold; `tendency`: mixed where some do; `rank`: two orders.
        sources: the artefacts whose numbers judge it.
        note: what the printed numbers show, or how the claim is read.
        values: what its rule needs, as text.
    """

    id: str
    text: str
    where: str
    kind: Kind
    sources: tuple[str, ...] = Field(alias="from")
    note: str
    values: Mapping[str, Any] = {}


class Note(_Entry):
    """A place where the paper disagrees with itself, and the artefacts that are concerned."""

    of: tuple[str, ...]
    text: str


class PaperDataset(_Entry):
    """A data set's name for people, and its number of classes."""

    name: str
    classes: int


class _Artefact(_Entry):
    title: str
    dataset: str
    columns: dict[str, Literal["percent", "fraction", "nats"]]
    rows: list[list[str]]


class _File(_Entry):
    datasets: dict[str, PaperDataset]
    networks: dict[str, str]
    teachers: tuple[str, ...]
    student: str
    capacity: tuple[str, ...]
    temperatures: tuple[str, ...]
    artefacts: dict[str, _Artefact]
    notes: tuple[Note, ...]
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Reference:
    """The paper.

    Attributes:
        artefacts: name of a table or figure -> its numbers, in the order of its rows.
        claims: in the paper's order.
        notes: where it disagrees with itself.
        datasets: by name.
        networks: name -> the paper's name.
        teachers: in the paper's order.
        student: its name among the networks.
        capacity: networks, most parameters first.
        temperatures: as text.
    """

    artefacts: Mapping[str, Cells]
    claims: tuple[Claim, ...]
    notes: tuple[Note, ...]
    datasets: Mapping[str, PaperDataset]
    networks: Mapping[str, str]
    teachers: tuple[str, ...]
    student: str
    capacity: tuple[str, ...]
    temperatures: tuple[str, ...]

    @property
    def cells(self) -> Cells:
        """Every printed number."""
        return self.cells_of(*self.artefacts)

    def cells_of(self, *names: str) -> Cells:
        """Return the numbers of some artefacts; a quantity has one cell each time it is printed."""
        cells_by_key: dict[Key, list[Cell]] = {}
        for name in names:
            for key, cells in self.artefacts[name].items():
                cells_by_key.setdefault(key, []).extend(cells)
        return cells_by_key

    def notes_of(self, artefact: str) -> list[str]:
        """Return the notes that concern an artefact."""
        return [note.text for note in self.notes if artefact in note.of]

    def name(self, network: str) -> str:
        """Return a network's name for people: the paper's, where it has one."""
        plain, plus, how = network.partition("+")
        return self.networks.get(plain, plain) + plus + how


def load_reference(path: Path) -> Reference:
    """Return what the file says.

    Raises:
        UserError: naming the place, if the file is malformed or contradicts itself.
    """
    try:
        raw = yaml.load(path.read_text(), yaml.BaseLoader)  # numbers stay text, with their zeros
        file = _File.model_validate(raw)
    except (OSError, yaml.YAMLError) as error:
        raise UserError.of(str(path), f"cannot be read: {error}") from error
    except ValidationError as error:
        faults = ((".".join(map(str, e["loc"])), e["msg"]) for e in error.errors())
        raise UserError(*(Problem(f"{path}: {at}", text) for at, text in faults)) from error
    problems = [Problem(f"{path}: {at}", text) for at, text in _problems(file)]
    artefacts: dict[str, Cells] = {}
    for name, artefact in file.artefacts.items():
        cells: dict[Key, list[Cell]] = {}
        for number, row in enumerate(artefact.rows):
            try:
                for key, cell in _row(name, artefact, row, file).items():
                    cells.setdefault(key, []).append(cell)
            except ValueError as error:
                problems.append(Problem(f"{path}: artefacts.{name}.rows.{number}", str(error)))
        artefacts[name] = cells
    if problems:
        raise UserError(*problems)
    return Reference(
        artefacts, file.claims, file.notes, file.datasets, file.networks, file.teachers,
        file.student, file.capacity, file.temperatures,
    )  # fmt: skip


def printed(text: str, unit: str) -> tuple[float, float]:
    """Return a printed number, and half a unit of its last digit; percent as a fraction.

    Raises:
        ValueError: if it is not a number.
    """
    try:
        number = Decimal(text)
        places = int(number.as_tuple().exponent)
    except (InvalidOperation, ValueError) as error:
        raise ValueError(f"got {text!r}; takes a number") from error
    return float(number / UNITS[unit]), float(Decimal(5).scaleb(places - 1) / UNITS[unit])


def _row(
    artefact: str, printed_artefact: _Artefact, row: list[str], file: _File
) -> dict[Key, Cell]:
    starred = any("*" in column for column in printed_artefact.columns)
    lead = 4 + starred
    if len(row) != lead + len(printed_artefact.columns):
        raise ValueError(f"got {len(row)} values; takes {lead + len(printed_artefact.columns)}")
    role, teacher, method, temperature = row[:4]
    for word, valid in (
        (role, ROLES),
        (method, METHODS),
        (teacher.removesuffix("+mixup"), ("", *file.networks)),
        (temperature, ("", *file.temperatures)),
    ):
        if word not in valid:
            raise ValueError(f"got {word!r}; takes {', '.join(valid)}")
    row_cells = {}
    for (column, unit), text in zip(printed_artefact.columns.items(), row[lead:], strict=True):
        if text:
            metric = column.replace("*", row[4])
            value, half = printed(text, unit)
            key = Key(printed_artefact.dataset, role, teacher, method, temperature, metric)
            row_cells[key] = Cell({0: value}, half, artefact)
    return row_cells


def _problems(file: _File) -> list[tuple[str, str]]:
    """Return (place, what is wrong) of names that nothing has, and of claims given twice."""
    named: list[tuple[str, str, Mapping[str, Any]]] = [
        *((f"artefacts.{k}.dataset", a.dataset, file.datasets) for k, a in file.artefacts.items()),
        ("student", file.student, file.networks),
        *(("teachers", name, file.networks) for name in file.teachers),
        *(("capacity", name, file.networks) for name in file.capacity),
        *(
            (f"notes.{n}.of", a, file.artefacts)
            for n, note in enumerate(file.notes)
            for a in note.of
        ),
        *((f"claims.{c.id}.from", a, file.artefacts) for c in file.claims for a in c.sources),
    ]
    unknown = [
        (at, f"got {name!r}; takes {', '.join(ok)}") for at, name, ok in named if name not in ok
    ]
    ids = [claim.id for claim in file.claims]
    return unknown + [(f"claims.{i}", "is given twice") for i in set(ids) if ids.count(i) > 1]
