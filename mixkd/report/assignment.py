"""Which run is of which network: as a reproduction planned, or as configurations say."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mixkd.config.analyses import analysis_names, prefix_of
from mixkd.config.fields import ARCHITECTURE, keys
from mixkd.config.network import NetworkConfig
from mixkd.config.parts import method_name
from mixkd.config.shipped import network_files
from mixkd.config.tasks import TRAININGS
from mixkd.errors import shortened
from mixkd.report.cells import Subject
from mixkd.report.plan import KINDS, Expected, Reproduction
from mixkd.report.results import Results, Slot
from mixkd.runs.identity import as_text
from mixkd.runs.read import FoundRun, find_runs

Images = tuple[str, ...]  # what says which images a run should have seen


def read_results(
    folder: Path, reproduction: Reproduction | None = None, teachers: Sequence[str] = ()
) -> Results:
    """Return every run under a folder, as a reproduction planned it or as its configuration says.

    `teachers` names networks that count as teachers, once trained from labels, even where they have
    taught none of the runs.
    """
    runs = find_runs(folder)
    if reproduction is None:
        return _by_configuration(runs, teachers)
    return _by_plan(runs, reproduction)


def _by_plan(runs: Sequence[FoundRun], reproduction: Reproduction) -> Results:
    """Return runs by where a reproduction has planned them, if they are what it has planned."""
    by_path = {run.path: run for run in runs}
    slots: dict[Slot, FoundRun] = {}
    notes: dict[Slot, list[str]] = {}
    expected: dict[Slot, Expected] = {(e.subject, e.seed, e.kind): e for e in reproduction.expected}
    usual = _usual_images(by_path[e.path] for e in reproduction.expected if e.path in by_path)
    for slot, planned in sorted(expected.items(), key=lambda item: KINDS.index(item[0][2])):
        run = by_path.get(planned.path)
        if run is None:
            continue
        slot_notes = notes.setdefault(slot, [])
        if not run.is_finished:
            state = run.status.get("state", "unknown")
            error = shortened(str(run.status.get("error") or ""), 300)
            slot_notes += [f"its run is {state}{f' ({error})' if error else ''}", *run.faults]
            continue
        if not run.config:
            slot_notes += [f"left out: {run.path}", *run.faults]
            continue
        dataset = reproduction.data.get(slot[0].dataset, slot[0].dataset)
        if run.dataset == dataset:
            slot_notes += _unusual_images(run, usual)
        if misfit := _misfit(run, slot, dataset, slots.get((slot[0], slot[1], "training"))):
            slot_notes.append(f"left out: {run.path} {misfit}")
            continue
        slot_notes += run.faults
        slots[slot] = run
    return Results(runs, reproduction, slots, expected, notes)


def _misfit(run: FoundRun, slot: Slot, dataset: str, training: FoundRun | None) -> str:
    """Return in what a finished run is not what was planned for a slot, or "".

    An evaluation is compared with the training of its network.
    """
    subject, seed, kind = slot
    if run.dataset != dataset:
        return f"is of other data, {run.dataset}; takes {dataset}"
    if run.task in TRAININGS:
        if run.seed != seed:
            return f"is of seed {run.seed}"
        if (recipe := _method(run)) != (subject.method, subject.temperature):
            return f"is of {' T = '.join(filter(None, recipe))}"
    if kind != "training" and training is not None:
        trained = training.fingerprint("weights") or training.fingerprint("network")
        if trained != run.fingerprint("network"):
            return "measured other weights than those of the row"
        teacher = run.fingerprint("teacher")
        if teacher not in ("", training.fingerprint("teacher")):
            return "asked another teacher than that of the row"
    return ""


def _data_of(run: FoundRun) -> Images:
    """Return what says which images a run should have seen: a teacher may have seen more."""
    return run.dataset, run.selection, str(run.section("data").get("limit_train"))


def _usual_images(runs: Iterable[FoundRun]) -> dict[Images, str]:
    """Return the sha256 of the images that most of the runs of each `_data_of` saw."""
    counts: dict[Images, Counter[str]] = {}
    for run in runs:
        counts.setdefault(_data_of(run), Counter())[run.images] += 1
    return {data: count.most_common(1)[0][0] for data, count in counts.items()}


def _unusual_images(run: FoundRun, usual: Mapping[Images, str]) -> list[str]:
    """Return a note on a run if it saw other images than most of the runs of its data."""
    if not run.images or usual[_data_of(run)] == run.images:
        return []
    return [f"{run.path} saw other images than the other runs of {run.dataset}"]


def _method(run: FoundRun) -> tuple[str, str]:
    """Return the method of a training, and its temperature as text."""
    temperature = run.config.get("temperature")
    text = f"{temperature:g}" if isinstance(temperature, (int, float)) else _text(temperature)
    return method_name(run.config, args=True), text


def _by_configuration(runs: Sequence[FoundRun], teachers: Sequence[str]) -> Results:
    """Return runs by what their configurations say that they are, the latest of each kind.

    Of several experiments of one method, as with another student, the runs of one are taken.
    """
    slots: dict[Slot, FoundRun] = {}
    notes: dict[Slot, list[str]] = {}
    asides: dict[Subject, str] = {}
    usual = _usual_images(run for run in runs if run.is_finished)
    by_time = sorted(runs, key=lambda run: str(run.status.get("ended", "")))
    trainings = [run for run in by_time if run.is_finished and run.task in TRAININGS]
    subjects = _Subjects(runs, teachers)
    experiments: dict[Subject, dict[str, list[FoundRun]]] = {}
    for run in trainings:
        experiments.setdefault(subjects.of(run), {}).setdefault(run.recipe, []).append(run)
    students = {_architecture(run.section("student")) for run in trainings if run.task == "distill"}
    for subject, recipes in experiments.items():
        chosen = max(recipes.values(), key=lambda of_one: subjects.weight(of_one, students))
        rest = [of_one for of_one in recipes.values() if of_one is not chosen]
        if others := [run.path for of_one in rest for run in of_one]:
            count = f"{len(others)} run{'s' if len(others) > 1 else ''}"
            asides[subject] = f"{count} of other settings left out, such as {others[-1]}"
        for run in chosen:
            slot = (subject, run.seed, "training")
            slot_notes = []
            if (before := slots.get(slot)) is not None:
                slot_notes.append(
                    f"several runs; this one is {run.path}, the latest; another {before.path}"
                )
            slot_notes += _unusual_images(run, usual)
            slots[slot], notes[slot] = run, slot_notes + run.faults
    trained = {run.fingerprint("weights"): slot for slot, run in slots.items()}
    trained.pop("", None)
    for run in by_time:
        weights = run.fingerprint("network")
        if run.task != "evaluate" or not run.is_finished or weights not in trained:
            continue
        subject, seed, _ = trained[weights]
        if run.dataset != subject.dataset:
            continue
        for kind in (*analysis_names(), *run.section("analyses")):
            if any(name.startswith(prefix_of(kind)) for name in run.metrics):
                slots[subject, seed, kind], notes[subject, seed, kind] = run, run.faults
    return Results(runs, None, slots, {}, notes, asides)


class _Subjects:
    """Says which network a training trained, by the configurations and fingerprints of all runs."""

    def __init__(self, runs: Sequence[FoundRun], teachers: Sequence[str]) -> None:
        self.teachers = teachers
        self.have_taught = _paths_of_teachers(runs)
        self.methods = {
            run.fingerprint("weights"): _text(run.section("method").get("name"))
            for run in runs
            if run.task == "finetune" and run.path in self.have_taught
        }

    def of(self, run: FoundRun) -> Subject:
        """Return which network a run trained."""
        method, temperature = _method(run)
        if run.task == "finetune":
            name = network_name(run.section("network"))
            if run.path in self.have_taught or name in self.teachers:
                return Subject(run.dataset, "teacher", name, method)
            return Subject(run.dataset, "student", "", method)
        name = network_name(run.section("teacher"))
        if self.methods.get(run.fingerprint("teacher")) == "mixup":
            name += "+mixup"
        return Subject(run.dataset, "student", name, method, temperature)

    def weight(self, runs: Sequence[FoundRun], students: set[str]) -> tuple[bool, int, str]:
        """Return the rank of one of several experiments, of which the greatest counts.

        First come teachers that have taught, and baselines of the architecture of the students;
        then the most seeds, and the latest end. The latest of the runs is the last.
        """
        last = runs[-1]
        has_taught = any(run.path in self.have_taught for run in runs)
        is_compared = last.task == "distill" or _architecture(last.section("network")) in students
        seeds = len({run.seed for run in runs})
        return has_taught or is_compared, seeds, str(last.status.get("ended", ""))


def _paths_of_teachers(runs: Sequence[FoundRun]) -> set[str]:
    """Return the paths of the runs that have taught: of equal weights, those that are named so."""
    named: dict[str, set[str]] = {}
    for run in runs:
        place = Path(_text(run.section("teacher").get("run"))).name
        named.setdefault(run.fingerprint("teacher"), set()).add(place)
    named.pop("", None)
    paths = set()
    for weights, names in named.items():
        of_weights = [run.path for run in runs if run.fingerprint("weights") == weights]
        paths |= {path for path in of_weights if Path(path).name in names} or {*of_weights}
    return paths


def _architecture(section: Mapping[str, Any]) -> str:
    """Return which network a section describes, wherever its weights are from."""
    return as_text({key: section.get(key) for key in keys(NetworkConfig, ARCHITECTURE)})


def network_name(section: Mapping[str, Any]) -> str:
    """Return the name of a network's shipped file, or else its own name without timm's tag."""
    name = _text(section.get("name")) or _text(section.get("factory"))
    return network_files().get(name, name.partition(".")[0])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
