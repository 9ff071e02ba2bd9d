"""What a folder of runs says of each network: cells, and notes on what is missing or wrong."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, nan
from pathlib import Path, PurePath
from statistics import mean
from typing import Any, Literal, get_args

from pydantic import ConfigDict, StrictInt, TypeAdapter

from mixkd.config.fields import ARCHITECTURE, keys
from mixkd.config.messages import first_fault
from mixkd.config.network import NetworkConfig
from mixkd.config.shipped import group_names, shipped_values
from mixkd.errors import UserError, shortened
from mixkd.files.writing import read_json
from mixkd.metrics.paired import Predictions
from mixkd.report.cells import Cell, Key, LeftOut, Subject
from mixkd.runs.identity import as_text
from mixkd.runs.read import TRAININGS, FoundRun, find_runs

Kind = Literal["training", "vicinal", "corruptions", "features"]
KINDS: tuple[Kind, ...] = get_args(Kind)
STRICT = ConfigDict(extra="forbid")  # of what is read from a file


@dataclass(frozen=True)
class Expected:
    """A run that a reproduction has planned.

    Attributes:
        subject: whose it is.
        seed: of the network.
        kind: training, vicinal, corruptions or features.
        command: that makes it, as typed in a shell; of what uses runs that are missing, a part.
        path: of its directory, relative to the folder of runs; "" while it is not known.
        artefacts: those that it feeds.
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

    Attributes:
        scale: its name.
        protocol: corrected or parity.
        about: a sentence on the scale.
        artefacts: those that it has planned, by name.
        data: what stands for the paper's data sets: their names in runs.
        datasets: the same, for people.
        teachers: what stands for the paper's teachers, for people.
        student: what the student is, for people.
        expected: the runs.
        settings: what tells it from one of other settings.
        overrides: the user's own, for captions.
        leaves_out: what the scale goes without.
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
    leaves_out: tuple[LeftOut, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Reproduction":
        """Read reproduction-<scale>.json.

        Raises:
            UserError: if it is damaged.
        """
        raw = read_json(path, "runs")
        try:
            found = _FORM.validate_python(raw)
            if manifest(path.parent, found.scale) != path:  # it names folders
                raise ValueError(f"its scale is {found.scale!r}")
            for place in (PurePath(each.path) for each in found.expected):
                if place.is_absolute() or ".." in place.parts:
                    raise ValueError(f"{str(place)!r} is no place in {path.parent}")
        except ValueError as error:
            text = f"{path} is damaged ({first_fault(error)}); mend or remove it"
            raise UserError.of("runs", text) from error
        return found

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        expected = [
            {name: getattr(each, name) for name in Expected.__dataclass_fields__}
            for each in self.expected
        ]
        left = [each.model_dump(exclude_unset=True) for each in self.leaves_out]
        return own | {"expected": expected, "leaves_out": left}

    def goes_without(self, subject: Subject) -> bool:
        """Return whether the scale leaves a network out."""
        return any(each.holds(subject) for each in self.leaves_out)


_FORM = TypeAdapter(Reproduction)


def manifest(folder: Path, scale: str) -> Path:
    """Return where a reproduction writes down what it has planned."""
    return folder / f"reproduction-{scale}.json"


Slot = tuple[Subject, int, str]  # whose, seed, kind


@dataclass(frozen=True)
class Results:
    """Runs by what they are of.

    Attributes:
        found: every run directory.
        reproduction: the one that planned them, if one did.
        slots: the finished run of each subject, seed and kind.
        expected: the runs that are planned, by subject, seed and kind.
        notes: what is wrong with a slot, a line each.
        asides: what else a reader has to know of a subject.
    """

    found: Sequence[FoundRun]
    reproduction: Reproduction | None = None
    slots: Mapping[Slot, FoundRun] = field(default_factory=dict)
    expected: Mapping[Slot, Expected] = field(default_factory=dict)
    notes: Mapping[Slot, Sequence[str]] = field(default_factory=dict)
    asides: Mapping[Subject, str] = field(default_factory=dict)

    @cached_property
    def subjects(self) -> list[Subject]:
        """Those of which anything is known or planned, in the order in which they were met."""
        return list(dict.fromkeys(s for s, _, _ in (*self.expected, *self.slots)))

    @cached_property
    def repeated(self) -> frozenset[str]:
        """The data sets that stand on runs all of which another one has too."""
        paths: dict[str, set[str]] = {}
        for (subject, _, _), each in self.expected.items():
            own = paths.setdefault(subject.dataset, set())
            own |= {each.path} if each.path else set()
        return frozenset(
            name
            for number, (name, own) in enumerate(paths.items())
            for before, others in enumerate(paths.values())
            if own and (own < others or (own == others and before < number))
        )

    def is_left_out(self, subject: Subject) -> bool:
        """Return whether the scale leaves a network out."""
        return self.reproduction is not None and self.reproduction.goes_without(subject)

    def goes_without(self, subject: Subject) -> bool:
        """Return whether a network does not count: the scale leaves it out, or it is a repeat."""
        return self.is_left_out(subject) or subject.dataset in self.repeated

    def seeds(self, subject: Subject, kind: str = "training") -> list[int]:
        """Return the seeds of which there is a finished run."""
        return sorted(seed for s, seed, k in self.slots if s == subject and k == kind)

    def runs(self, subject: Subject, kind: str = "training") -> dict[int, FoundRun]:
        """Return the finished runs by seed."""
        return {seed: self.slots[subject, seed, kind] for seed in self.seeds(subject, kind)}

    def predictions(self, subject: Subject) -> dict[int, Predictions]:
        """Return the predictions on the test images by seed, of the runs that have any."""
        found = {seed: run.predictions for seed, run in self.runs(subject).items()}
        return {seed: kept for seed, kept in found.items() if kept is not None}

    @cached_property
    def cells(self) -> dict[Key, list[Cell]]:
        """Every measured quantity."""
        return self._cells(self.slots)

    @cached_property
    def sound_cells(self) -> dict[Key, list[Cell]]:
        """Every quantity that was measured by a run of which nothing is known to be wrong."""
        return self._cells({slot: r for slot, r in self.slots.items() if not self.notes.get(slot)})

    def _cells(self, slots: Mapping[Slot, FoundRun]) -> dict[Key, list[Cell]]:
        gathered: dict[Key, tuple[dict[int, float], list[str]]] = {}
        for (subject, seed, kind), run in slots.items():
            for metric, value in _metrics(run, kind).items():
                values, paths = gathered.setdefault(subject.key(metric), ({}, []))
                values[seed] = value
                paths.append(run.path)
        return {
            key: [Cell(dict(sorted(values.items())), runs=tuple(paths))]
            for key, (values, paths) in gathered.items()
        }

    def cell(self, subject: Subject, metric: str) -> Cell | None:
        """Return a measured quantity, or None."""
        found = self.cells.get(subject.key(metric))
        return found[0] if found else None

    def remarks(self, subject: Subject, kind: str = "training") -> str:
        """Return what a reader of a row has to know: seeds that lack, numbers that cannot be."""
        said: list[str] = []
        planned = sorted(seed for s, seed, k in self.expected if s == subject and k == kind)
        have = self.seeds(subject, kind)
        lacking = [seed for seed in planned if seed not in have]
        if not have:
            known = "left out of this scale" if self.is_left_out(subject) else "no run"
            said.append("missing" if planned else known)
        elif lacking:
            said.append(f"missing: seed {', '.join(map(str, lacking))}")
        if len(have) == 1:
            said.append("one seed")
        for seed in sorted({*planned, *have}):
            said += [
                f"seed {seed}: {text}" if len({*planned, *have}) > 1 else text
                for text in self.notes.get((subject, seed, kind), ())
            ]
        runs = self.runs(subject, kind).values()
        if len({run.images for run in runs} - {""}) > 1:
            said.append("its runs are of different images")
        if kind == "training" and len({run.setting for run in runs}) > 1:
            said.append("its seeds are of different experiments")
        if subject in self.asides:
            said.append(self.asides[subject])
        return "; ".join(said)

    def faults(self, artefact: str = "") -> list[str]:
        """Return what is missing or wrong of an artefact's runs, or of all, a line each.

        A run that is missing comes with the command that makes it.
        """
        found = []
        of_it = {
            slot for slot, e in self.expected.items() if not artefact or artefact in e.artefacts
        }
        for slot in self.expected:
            if slot in of_it and slot not in self.slots:
                each = self.expected[slot]
                found.append(
                    f"missing: {title(slot[0])}, seed {slot[1]}, {slot[2]}: `{each.command}`"
                )
        for slot, notes in self.notes.items():
            if slot in of_it or not (artefact or self.expected):
                found += [f"{title(slot[0])}, seed {slot[1]}, {slot[2]}: {note}" for note in notes]
        return found


def title(subject: Subject) -> str:
    """Return a subject in words."""
    own = [subject.dataset, subject.role, subject.method]
    own += [f"from {subject.teacher}"] if subject.role == "student" and subject.teacher else []
    own += [subject.teacher] if subject.role == "teacher" else []
    own += [f"T = {subject.temperature}"] if subject.temperature else []
    return " ".join(own)


def read_results(folder: Path, reproduction: Reproduction | None = None) -> Results:
    """Read every run under a folder.

    Args:
        folder: where runs are.
        reproduction: what has been planned there; None: runs are known by their configurations.
    """
    found = find_runs(folder)
    if reproduction is None:
        return _by_configuration(found)
    by_path = {run.path: run for run in found}
    slots: dict[Slot, FoundRun] = {}
    notes: dict[Slot, list[str]] = {}
    expected: dict[Slot, Expected] = {(e.subject, e.seed, e.kind): e for e in reproduction.expected}
    usual = _usual_images(by_path[e.path] for e in reproduction.expected if e.path in by_path)
    for slot, each in sorted(expected.items(), key=lambda item: KINDS.index(item[0][2])):
        run = by_path.get(each.path)
        if run is None:
            continue
        said = notes.setdefault(slot, [])
        if not run.is_finished:
            state = run.status.get("state", "unknown")
            error = shortened(str(run.status.get("error") or ""), 300)
            said.append(f"its run is {state}{f' ({error})' if error else ''}")
            said += run.faults
            continue
        own = reproduction.data.get(slot[0].dataset, slot[0].dataset)
        if not run.config:
            said += [f"left out: {run.path}", *run.faults]
            continue
        if run.dataset != own:
            said.append(f"left out: {run.path} is of other data, {run.dataset}; takes {own}")
            continue
        if run.images and usual[_data_of(run)] != run.images:
            said.append(f"{run.path} saw other images than the other runs of {own}")
        if run.seed != slot[1] and run.task in TRAININGS:
            said.append(f"left out: {run.path} is of seed {run.seed}")
            continue
        if run.task in TRAININGS and (of := _way(run)) != slot[0][3:]:
            said.append(f"left out: {run.path} is of {' T = '.join(filter(None, of))}")
            continue
        training = slots.get((slot[0], slot[1], "training"))
        if slot[2] != "training" and training is not None and not _same_network(training, run):
            said.append(f"left out: {run.path} measured other weights than those of the row")
            continue
        if slot[2] == "vicinal" and training is not None and not _same_teacher(training, run):
            said.append(f"left out: {run.path} asked another teacher than that of the row")
            continue
        said += run.faults
        slots[slot] = run
    return Results(found, reproduction, slots, expected, {k: v for k, v in notes.items() if v})


def _data_of(run: FoundRun) -> tuple[str, ...]:
    """Return what says which images a run should have seen: a teacher may have seen more."""
    return run.dataset, run.selection, str(run.section("data").get("limit_train"))


def _usual_images(runs: Iterable[FoundRun]) -> dict[tuple[str, ...], str]:
    """Return the sha256 of the images that most of the runs of each `_data_of` saw."""
    counts: dict[tuple[str, ...], dict[str, int]] = {}
    for run in runs:
        own = counts.setdefault(_data_of(run), {})
        own[run.images] = own.get(run.images, 0) + 1
    return {data: max(own, key=lambda k: own[k]) for data, own in counts.items()}


def _same_network(training: FoundRun, evaluation: FoundRun) -> bool:
    trained = training.fingerprint("weights") or training.fingerprint("network")
    return trained == evaluation.fingerprint("network")


def _same_teacher(training: FoundRun, evaluation: FoundRun) -> bool:
    asked = evaluation.fingerprint("teacher")
    return not asked or asked == training.fingerprint("teacher")


def _way(run: FoundRun) -> tuple[str, str]:
    """Return the method of a training, and its temperature as text."""
    temperature = run.config.get("temperature")
    text = f"{temperature:g}" if isinstance(temperature, (int, float)) else _text(temperature)
    return _text(run.section("method").get("name")), text


def _by_configuration(found: Sequence[FoundRun]) -> Results:
    """Return runs by what their configurations say that they are, the latest of each kind.

    Of several experiments of one method, as with another student, the runs of one are taken.
    """
    slots: dict[Slot, FoundRun] = {}
    notes: dict[Slot, list[str]] = {}
    teaching = {run.fingerprint("teacher") for run in found} - {""}
    methods = {
        run.fingerprint("weights"): _text(run.section("method").get("name"))
        for run in found
        if run.task == "finetune" and run.fingerprint("weights")
    }
    usual = _usual_images(run for run in found if run.is_finished)
    by_time = sorted(found, key=lambda run: str(run.status.get("ended", "")))
    trainings = [run for run in by_time if run.is_finished and run.task in TRAININGS]
    experiments: dict[Subject, dict[str, list[FoundRun]]] = {}
    for run in trainings:
        own = experiments.setdefault(_subject(run, teaching, methods), {})
        own.setdefault(run.recipe, []).append(run)
    students = {_form(run.section("student")) for run in trainings if run.task == "distill"}
    asides: dict[Subject, str] = {}
    for subject, own in experiments.items():
        chosen = max(own.values(), key=lambda runs: _weight(runs, teaching, students))
        if others := [run.path for runs in own.values() if runs is not chosen for run in runs]:
            count = f"{len(others)} run{'s' if len(others) > 1 else ''}"
            asides[subject] = f"{count} of other settings left out, such as {others[-1]}"
        for run in chosen:
            slot = (subject, run.seed, "training")
            said = []
            if (before := slots.get(slot)) is not None:
                said.append(
                    f"several runs; this one is {run.path}, the latest; another {before.path}"
                )
            if run.images and usual[_data_of(run)] != run.images:
                said.append(f"{run.path} saw other images than the other runs of {run.dataset}")
            slots[slot], notes[slot] = run, said + run.faults
    trained = {run.fingerprint("weights"): slot for slot, run in slots.items()}
    trained.pop("", None)
    for run in by_time:
        weights = run.fingerprint("network")
        if run.task != "evaluate" or not run.is_finished or weights not in trained:
            continue
        subject, seed, _ = trained[weights]
        if run.dataset != subject.dataset:
            continue
        for kind, sign in (("vicinal", "vicinal/"), ("corruptions", "corruption/"),
                           ("features", "features/")):  # fmt: skip
            if any(name.startswith(sign) for name in run.metrics):
                slot = (subject, seed, kind)
                slots[slot] = run
                notes[slot] = run.faults
    wrong = {slot: said for slot, said in notes.items() if said}
    return Results(found, None, slots, {}, wrong, asides)


def _weight(
    runs: Sequence[FoundRun], teaching: set[str], students: set[str]
) -> tuple[bool, int, str]:
    """Return what makes one of several experiments count, most of all that others rest on it.

    That is so of teachers that have taught, and of baselines of the students' network. Then come
    the number of seeds, and the time of the last one.
    """
    last = runs[-1]
    has_taught = any(run.fingerprint("weights") in teaching for run in runs)
    is_compared = last.task == "distill" or _form(last.section("network")) in students
    seeds = len({run.seed for run in runs})
    return has_taught or is_compared, seeds, str(last.status.get("ended", ""))


def _form(section: Mapping[str, Any]) -> str:
    """Return which network a section describes, wherever its weights are from."""
    return as_text({key: section.get(key) for key in keys(NetworkConfig, ARCHITECTURE)})


def _subject(run: FoundRun, teaching: set[str], methods: Mapping[str, str]) -> Subject:
    method, temperature = _way(run)
    if run.task == "finetune":
        name = network_name(run.section("network"))
        is_teacher = run.fingerprint("weights") in teaching or name in PAPER_TEACHERS
        if is_teacher:
            return Subject(run.dataset, "teacher", name, method)
        return Subject(run.dataset, "student", "", method)
    name = network_name(run.section("teacher"))
    if methods.get(run.fingerprint("teacher")) == "mixup":
        name += "+mixup"
    return Subject(run.dataset, "student", name, method, temperature)


PAPER_TEACHERS = ("convnext_large", "vit_b16", "resnet152v2", "convnext_tiny")


def network_name(section: Mapping[str, Any]) -> str:
    """Return the name of a network's shipped file, or else its own name without timm's tag."""
    own = _text(section.get("name")) or _text(section.get("factory"))
    files = {shipped_values("network", stem).get("name"): stem for stem in group_names("network")}
    return files.get(own, own.partition(".")[0])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _metrics(run: FoundRun, kind: str) -> dict[str, float]:
    """Return what a run says of its own network, names of networks left out."""
    if kind == "training":
        return {k: v for k, v in run.metrics.items() if k.startswith("test/")} | _curve(run)
    sign = {"vicinal": "vicinal/", "corruptions": "corruption/", "features": "features/"}[kind]
    found = {}
    for name, value in run.metrics.items():
        if name.startswith(sign):
            parts = [part for part in name.split("/") if part not in ("student", "network")]
            found["/".join(parts)] = value
            if parts[-1] == "gain_erm":
                found["/".join([*parts[:-1], "gain"])] = value
    if kind == "vicinal":
        found = _gains(run) | found
        for name, line in _dominance(run).items():
            half = _half_way(line)
            if half is not None and isfinite(half):
                found[f"vicinal/{name}"] = half
    return found


def _gains(run: FoundRun) -> dict[str, float]:
    """Return a student's gains in linearity at each lambda: old metrics.json have none."""
    nl: dict[tuple[Any, Any], dict[Any, float]] = {}
    for row in run.rows("vicinal.csv"):
        if isinstance(value := row.get("nl"), float) and isfinite(value):
            nl.setdefault((row["split"], row["lam"]), {})[row["network"]] = value
    return {
        f"vicinal/{split}/delta_lin_at_{lam:g}": of["teacher"] - of["student"]
        for (split, lam), of in nl.items()
        if {"teacher", "student"} <= of.keys()
    }


def _dominance(run: FoundRun) -> dict[str, dict[float, float]]:
    """Return the dominance of a run's own network by lambda, by split/dominance_half.

    Beside it by split/dominance_half_se its standard error at most: NL and entropy are of the same
    pairs, and how their errors go together is not kept.
    """
    found: dict[str, dict[float, float]] = {}
    for row in run.rows("vicinal.csv"):
        lam, value = row.get("lam"), row.get("dominance")
        own = row.get("network") in ("student", "network")
        if not (own and isinstance(lam, float) and isinstance(value, float)):
            continue
        name = f"{row.get('split')}/dominance_half"
        found.setdefault(name, {})[lam] = value
        parts = [row.get(column) for column in ("nl_se", "entropy_se", "entropy")]
        nl_se, entropy_se, entropy = (p if isinstance(p, float) else nan for p in parts)
        if entropy > 0:
            found.setdefault(f"{name}_se", {})[lam] = (nl_se + value * entropy_se) / entropy
    return found


def _half_way(line: Mapping[float, float]) -> float | None:
    """Return a value at lambda = 0.5; of an even number of lambdas, between the two beside it."""
    if 0.5 in line:
        return line[0.5]
    below = max((lam for lam in line if 0 < lam < 0.5), default=None)
    above = min((lam for lam in line if 0.5 < lam < 1), default=None)
    if below is None or above is None:
        return None
    part = (0.5 - below) / (above - below)
    return line[below] * (1 - part) + line[above] * part


def _curve(run: FoundRun) -> dict[str, float]:
    """Return the mean held-out accuracy over parts of a training, from history.csv.

    Of its first tenth of epochs, of the rest of its first half, and of its second half.
    """
    values = [row.get("val/accuracy") for row in run.rows("history.csv")]
    accuracy = [value for value in values if isinstance(value, float) and isfinite(value)]
    if not accuracy:
        return {}
    n = len(accuracy)
    tenth, half = max(1, n // 10), max(1, n // 2)
    parts = {"early": accuracy[:tenth], "middle": accuracy[tenth:half], "late": accuracy[half:]}
    return {f"curve/{name}_accuracy": mean(part) for name, part in parts.items() if part}
