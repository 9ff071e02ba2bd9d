"""`plan=true`: what a reproduction costs in hours and bytes, by measured images per second."""

import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml
from omegaconf import OmegaConf
from pydantic import ValidationError

from mixkd.config.analyses import AnalysisConfig, analysis_names, section_of_analysis
from mixkd.config.fields import ARCHITECTURE, keys
from mixkd.config.launcher import LocalConfig
from mixkd.config.messages import schema_problems
from mixkd.config.network import NetworkConfig
from mixkd.config.sources import SIZES, SPLITS
from mixkd.config.tasks import SweepSettings
from mixkd.console import cores, say
from mixkd.data.contents import split_files
from mixkd.data.listing import FORMATS, image_files
from mixkd.errors import Problem, UserError
from mixkd.reproduction.carry_out import distinct, statuses
from mixkd.reproduction.record import command_of
from mixkd.reproduction.study import Artefact, StudyRun
from mixkd.request import compose

START = 2.0  # seconds that a run takes beside its images
FLOAT = 4  # bytes of a parameter


class Model(NamedTuple):
    """A network as it is timed: its architecture as YAML, on views of a size in pixels."""

    section: str
    classes: int
    size: int
    batch: int
    precision: str
    channels_last: bool


class Speed(NamedTuple):
    """Images per second of a training step and of a forward pass, and numbers held."""

    train: float
    forward: float
    parameters: int


@dataclass(frozen=True)
class Work:
    """What a run does, in images by model.

    Its files hold the parameters `keeps` times. Of answers that it shares with other runs `tape`
    has a name, the teacher and their number.
    """

    train: tuple[Model, float] | None
    forward: tuple[tuple[Model, float], ...]
    keeps: int = 0
    tape: tuple[str, Model, float] | None = None

    @property
    def models(self) -> list[Model]:
        """The networks at work."""
        models = [self.train[0]] if self.train else []
        models += [model for model, _ in self.forward]
        return models + ([self.tape[1]] if self.tape else [])

    def seconds(self, speeds: Mapping[Model, Speed]) -> float:
        """Return how long it takes, without the answers that it shares."""
        trained = [self.train] if self.train else []
        seconds = START + sum(count / speeds[model].train for model, count in trained)
        return seconds + sum(count / speeds[model].forward for model, count in self.forward)

    def disk(self, speeds: Mapping[Model, Speed]) -> float:
        """Return the bytes that its checkpoints and weights take."""
        if self.train is None:
            return 0.0
        return float(self.keeps * FLOAT * speeds[self.train[0]].parameters)


def work_of(run: StudyRun) -> Work:
    """Return what a run does, from its configuration; runs that it uses need not be there.

    Raises:
        UserError: if it cannot be composed, or its images cannot be counted.
    """
    composed = _Composed(run)
    return composed.evaluation() if run.command == "evaluate" else composed.training()


class _Composed:
    """The configuration of a run, and of the runs that it uses."""

    def __init__(self, run: StudyRun) -> None:
        self.run, self.cfg = run, _composed(run)
        self.used = {key: _composed(used) for key, used in run.uses}
        # An evaluation has the data of the run that it measures.
        data = (self.used.get("network.run") or self.cfg)["data"]
        self.train, self.val, self.test, self.classes, side = _counts(data)
        self.batch, self.size = int(data["batch_size"]), int(data["size"] or side)

    def model(self, section: Mapping[str, Any]) -> Model:
        """Return a network as this run asks it."""
        trainer = self.cfg["trainer"]
        return Model(
            OmegaConf.to_yaml({k: section.get(k) for k in keys(NetworkConfig, ARCHITECTURE)}),
            self.classes,
            self.size,
            min(self.batch, 200),
            str(trainer["precision"]),
            bool(trainer["channels_last"]),
        )

    def network(self, key: str) -> Model | None:
        """Return the network under a key of this run, or of the run that it names there."""
        used = self.used.get(f"{key}.run", self.used.get(key))
        if used is not None:
            return self.model(used["student" if used["task"] == "distill" else "network"])
        section = self.cfg.get(key.split(".")[0])
        if not isinstance(section, dict) or not (section.get("name") or section.get("factory")):
            return None
        return self.model(section)

    def training(self) -> Work:
        """Return what a training does."""
        cfg = self.cfg
        learner = cfg["student" if self.run.command == "distill" else "network"]
        network, epochs = self.model(learner), int(cfg["trainer"]["max_epochs"])
        seen = float(epochs * self.train)
        forward = [(network, float(epochs * self.val + self.test))]
        tape = None
        if (teacher := self.network("teacher")) is not None:
            if cfg["teacher"].get("tape"):
                stream = [dict(self.run.uses).get("teacher.run"), cfg["teacher"], cfg["data"]]
                stream += [cfg["method"]["mix"], cfg["stream"]["seed"], cfg["seed"]]
                tape = (repr(stream), teacher, seen)
            else:
                forward.append((teacher, seen))
        if cfg["stage1"]["epochs"] and learner.get("pretrained"):
            forward.append((network, float(cfg["stage1"]["epochs"] * (self.train + self.val))))
        slots = {"sgd": 2, "adam": 3, "adamw": 3}[cfg["optimizer"]["name"]]
        return Work((network, seen), tuple(forward), 2 * slots + 1, tape)

    def evaluation(self) -> Work:
        """Return what an evaluation does."""
        network = self.network("network")
        assert network is not None
        baselines = [key for key in self.used if key.startswith("baselines.")]
        others = [model for key in ("teacher", *baselines) if (model := self.network(key))]
        forward = [(network, float(self.test + self.val))]
        sizes = {"train": self.train, "val": self.val, "test": self.test}
        for section in _analyses(self.cfg):
            networks = [network, *(others if section.shared_question else ())]
            forward += [(model, section.forward_images(sizes)) for model in networks]
        return Work(None, tuple(forward))


@dataclass(frozen=True)
class Price:
    """How many runs there are, how many of them are missing, and what those cost.

    That is hours on this machine, and gigabytes of disk.
    """

    runs: int
    missing: int
    hours: float
    disk: float


def price(
    runs: Sequence[StudyRun],
    finished: Container[Any],
    work: Mapping[Any, Work],
    speeds: Mapping[Model, Speed],
    parallel: int = 1,
) -> Price:
    """Return what distinct runs cost, without the finished jobs, so many of them in parallel."""
    missing = [work[run.job] for run in runs if run.job not in finished]
    seconds = sum(of_run.seconds(speeds) for of_run in missing)
    tapes = {of_run.tape[0]: of_run.tape[1:] for of_run in missing if of_run.tape is not None}
    seconds += sum(count / speeds[teacher].forward for teacher, count in tapes.values())
    disk = sum(of_run.disk(speeds) for of_run in missing) / 1e9
    return Price(len(runs), len(missing), seconds / 3600 / parallel, disk)


def estimate(
    chosen: Sequence[Artefact],
    runs_of: Mapping[str, Sequence[StudyRun]],
    root: Path,
    settings: SweepSettings,
    measure_speed: Callable[[Model, int], Speed],
    each_run: bool = False,
) -> str:
    """Return what there is to do and what it costs.

    `measure_speed` times a network on so many threads. `each_run` lists every run with its command.
    """
    runs = distinct(run for of_artefact in runs_of.values() for run in of_artefact)
    states = statuses(runs, root)
    busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5
    finished = {state.run.job for state in states if state.is_finished}
    work = {run.job: work_of(run) for run in runs if run.job not in finished}
    launcher = settings.launcher
    parallel = launcher.parallel if isinstance(launcher, LocalConfig) else 1
    speeds: dict[Any, Speed] = {}
    for model in dict.fromkeys(model for of_run in work.values() for model in of_run.models):
        say(f"timing network {len(speeds) + 1}")
        speeds[model] = measure_speed(model, max(cores() // parallel, 1))
    lines = [f"{'artefact':<10} {'runs':>5} {'to do':>6} {'hours':>9} {'disk GB':>8}"]
    for artefact in chosen:
        cost = price(distinct(runs_of[artefact.name]), finished, work, speeds, parallel)
        lines.append(_line(artefact.name, cost))
    lines.append(_line("together", price(runs, finished, work, speeds, parallel)))
    lines.append("Runs that artefacts share are done once.")
    if speeds:
        lines += [
            f"Hours: {parallel} at once on this machine, by images per second measured just now",
            "(training, answering; millions of numbers):",
        ]
        if busy:
            lines.append("(other work was running on this machine: it may well be faster)")
    for model, speed in speeds.items():
        network = yaml.safe_load(model.section)
        args = "".join(f" {key}={value}" for key, value in (network.get("args") or {}).items())
        name = f"{network.get('name') or network.get('factory')}{args}"
        lines.append(
            f"  {name:<40} {model.size} px  "
            f"{speed.train:>9,.1f} {speed.forward:>9,.1f}  {speed.parameters / 1e6:.2f}"
        )
    if each_run:
        places = {state.run.job: state.path for state in states}
        for run in runs:
            done = "done " if run.job in finished else "to do"
            lines.append(f"{done}  {command_of(run, places, root)}")
    return "\n".join(lines)


def _line(name: str, cost: Price) -> str:
    return f"{name:<10} {cost.runs:>5} {cost.missing:>6} {cost.hours:>9.2f} {cost.disk:>8.2f}"


@cache
def _composed(run: StudyRun) -> dict[str, Any]:
    overrides = [o for o in run.overrides if not o.startswith("run.")]
    cfg = OmegaConf.to_container(compose(run.command, overrides), resolve=True)
    return cast(dict[str, Any], cfg)


def _analyses(cfg: Mapping[str, Any]) -> Iterator[AnalysisConfig]:
    """Yield the sections of the analyses that are asked for.

    Raises:
        UserError: for a key that takes another value.
    """
    for name in analysis_names():
        section = section_of_analysis(name)
        try:
            analysis = section.model_validate(cfg[name])
        except ValidationError as error:
            problems = schema_problems(section, cfg[name], error)
            raise UserError(*(Problem(f"{name}.{p.key}", p.text) for p in problems)) from error
        if analysis.enabled:
            yield analysis


def _counts(data: Mapping[str, Any]) -> tuple[int, int, int, int, int]:
    """Return training, held-out and test images, classes, and the stored side."""
    source, root = str(data["source"]), Path(str(data.get("root") or ""))
    val = None  # held-out images that come with the data
    if source in SIZES:
        train, test, classes, side = SIZES[source]
    elif source in SPLITS and (root / "train").is_dir():
        parts = [name for name in SPLITS[source] if (root / name).is_dir()]
        listed = {name: split_files(root, name).names for name in parts}  # once for all runs
        number = {name: sum(map(len, names.values())) for name, names in listed.items()}
        train, test = number["train"], number.get("test", number.get("val", 0))
        val = number.get("val") if "test" in number else None
        classes = len(listed["train"])
        side = _side(root / "train")
    else:
        raise UserError.of("data.root", f"got {data.get('root')!r}; takes a folder with train/")
    test = min(test, data["limit_test"] or test)
    held = round(train * float(data["holdout"])) if val is None else val
    if data["selection"] == "test":
        held = test
    elif val is None:
        train -= held
    if data["limit_train"] and data["limit_train"] < train:
        fewer = max(round(held * data["limit_train"] / train), classes)
        if data["selection"] != "test" and fewer < held - classes:
            held = fewer
        train = int(data["limit_train"])
    return train, held, test, classes, side


def _side(folder: Path) -> int:
    from PIL import Image

    for _, path in image_files(folder):
        with Image.open(path, formats=list(FORMATS)) as image:
            return max(image.size)
    raise UserError.of("data.root", f"no images in {folder}")
