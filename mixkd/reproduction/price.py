"""What a reproduction costs: images, seconds, bytes, from measured images per second."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from omegaconf import OmegaConf
from pydantic import ValidationError

from mixkd.config.analyses import AnalysisConfig, analysis_names, section_of_analysis
from mixkd.config.fields import ARCHITECTURE, keys
from mixkd.config.messages import schema_problems
from mixkd.config.network import NetworkConfig
from mixkd.data.listing import FORMATS, class_folders, image_files
from mixkd.errors import Problem, UserError
from mixkd.reproduction.study import Wanted
from mixkd.request import compose

START = 2.0  # seconds that a run takes beside its images
FLOAT = 4  # bytes of a parameter

# Training and test images, classes, and the side of a stored image in pixels.
SIZES = {
    "digits": (1347, 450, 10, 32),
    "cifar10": (50_000, 10_000, 10, 32),
    "cifar100": (50_000, 10_000, 100, 32),
    "imagenet": (1_281_167, 50_000, 1000, 224),
}

# The keys of a network's section that its speed depends on.
TIMED = keys(NetworkConfig, ARCHITECTURE)

Raw = Mapping[str, Any]


class Model(NamedTuple):
    """A network as it is timed.

    Attributes:
        section: its architecture, as YAML.
        classes: how many.
        size: of the views in pixels.
        batch: images.
        precision: float32 or bf16.
        channels_last: its memory format.
    """

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

    Attributes:
        train: images that a model trains on.
        forward: images that each model answers.
        keeps: copies of the parameters that its files hold.
        tape: a name for the answers that it shares with other runs, the teacher, and their number.
    """

    train: tuple[Model, float] | None
    forward: tuple[tuple[Model, float], ...]
    keeps: int = 0
    tape: tuple[str, Model, float] | None = None

    @property
    def models(self) -> list[Model]:
        """The networks at work."""
        found = [model for model, _ in self.forward]
        return [
            *([self.train[0]] if self.train else []), *found, *([self.tape[1]] if self.tape else [])
        ]  # fmt: skip

    def seconds(self, speeds: Mapping[Model, Speed]) -> float:
        """Return how long it takes, without the answers that it shares."""
        found = START + sum(count / speeds[model].forward for model, count in self.forward)
        if self.train is not None:
            model, count = self.train
            found += count / speeds[model].train
        return found

    def disk(self, speeds: Mapping[Model, Speed]) -> float:
        """Return the bytes that its checkpoints and weights take."""
        if self.train is None:
            return 0.0
        return float(self.keeps * FLOAT * speeds[self.train[0]].parameters)


def work_of(wanted: Wanted) -> Work:
    """Return what a run does, from its configuration; runs that it uses need not be there.

    Raises:
        UserError: if it cannot be composed, or its images cannot be counted.
    """
    cfg = _composed(wanted)
    used = {key: _composed(run) for key, run in wanted.uses}
    learner = {"finetune": "network", "distill": "student", "evaluate": "network"}[wanted.command]
    first = used.get("network.run", cfg)
    data = (first if wanted.command == "evaluate" else cfg)["data"]
    n_train, n_val, n_test, classes, side = _counts(data)
    batch = int(data["batch_size"])

    def model(section: Mapping[str, Any]) -> Model:
        kept = {key: section.get(key) for key in TIMED}
        size, trainer = int(data["size"] or side), cfg["trainer"]
        return Model(
            OmegaConf.to_yaml(kept),
            classes,
            size,
            min(batch, 200),
            str(trainer["precision"]),
            bool(trainer["channels_last"]),
        )

    def own(key: str) -> Model | None:
        """Return the network under a key of this run, or of the run that it names."""
        run = used.get(f"{key}.run", used.get(key))
        if run is None:
            section = cfg.get(key.split(".")[0])
            known = isinstance(section, dict) and (section.get("name") or section.get("factory"))
            return model(section) if known and section is not None else None
        return model(run["student" if run["task"] == "distill" else "network"])

    network = own(learner) if wanted.command != "distill" else model(cfg["student"])
    assert network is not None
    teacher = own("teacher") if wanted.command != "finetune" else None
    if wanted.command != "evaluate":
        epochs = int(cfg["trainer"]["max_epochs"])
        seen = epochs * n_train
        forward = [(network, float(epochs * n_val + n_test))]
        tape = None
        if teacher is not None and cfg["teacher"].get("tape"):
            stream = [dict(wanted.uses).get("teacher.run"), cfg["teacher"], cfg["data"]]
            stream += [cfg["method"]["mix"], cfg["stream"]["seed"], cfg["seed"]]
            tape = (repr(stream), teacher, float(seen))
        elif teacher is not None:
            forward.append((teacher, float(seen)))
        if cfg["stage1"]["epochs"] and cfg[learner].get("pretrained"):
            forward.append((network, float(cfg["stage1"]["epochs"] * (n_train + n_val))))
        slots = {"sgd": 2, "adam": 3, "adamw": 3}[cfg["optimizer"]["name"]]
        return Work((network, float(seen)), tuple(forward), 2 * slots + 1, tape)
    asked = [network, *([teacher] if teacher is not None else [])]
    asked += [m for key in used if key.startswith("baselines.") and (m := own(key)) is not None]
    forward = [(network, float(n_test + n_val))]
    sizes = {"train": n_train, "val": n_val, "test": n_test}
    for section in _analyses(cfg):
        count = section.forward_images(sizes)
        forward += [(each, count) for each in (asked if section.asks_others else [network])]
    return Work(None, tuple(forward))


@dataclass(frozen=True)
class Price:
    """What some runs cost.

    Attributes:
        runs: how many there are.
        missing: how many are to be done.
        hours: of those, on this machine.
        disk: of those, in gigabytes.
    """

    runs: int
    missing: int
    hours: float
    disk: float


def price(
    runs: Sequence[Wanted],
    finished: Iterable[Any],
    work: Mapping[Any, Work],
    speeds: Mapping[Model, Speed],
    parallel: int = 1,
) -> Price:
    """Return what runs cost.

    Args:
        runs: distinct ones.
        finished: the jobs of those that are done.
        work: of each job that is not.
        speeds: of every model.
        parallel: how many runs there are at once.
    """
    done = set(finished)
    missing = [work[each.job] for each in runs if each.job not in done]
    seconds = sum(each.seconds(speeds) for each in missing)
    tapes = {each.tape[0]: each.tape[1:] for each in missing if each.tape is not None}
    seconds += sum(count / speeds[teacher].forward for teacher, count in tapes.values())
    disk = sum(each.disk(speeds) for each in missing) / 1e9
    return Price(len(runs), len(missing), seconds / 3600 / parallel, disk)


def _composed(wanted: Wanted) -> dict[str, Any]:
    words = [word for word in wanted.words if not word.startswith("run.")]
    found = OmegaConf.to_container(compose(wanted.command, words), resolve=True)
    return cast(dict[str, Any], found)


def _analyses(cfg: Raw) -> Iterator[AnalysisConfig]:
    """Yield the sections of the analyses that are asked for.

    Raises:
        UserError: for a key that takes another value.
    """
    for name in analysis_names():
        section = section_of_analysis(name)
        try:
            keys = section.model_validate(cfg[name])
        except ValidationError as error:
            problems = schema_problems(section, cfg[name], error)
            raise UserError(*(Problem(f"{name}.{p.key}", p.text) for p in problems)) from error
        if keys.enabled:
            yield keys


def _counts(data: Raw) -> tuple[int, int, int, int, int]:
    """Return training, held-out and test images, classes, and the stored side."""
    source, root = str(data["source"]), Path(str(data.get("root") or ""))
    own = None  # held-out images that come with the data
    if source in SIZES:
        train, test, classes, side = SIZES[source]
    elif source == "imagefolder" and (root / "train").is_dir():
        parts = [name for name in ("train", "val", "test") if (root / name).is_dir()]
        number = {name: sum(1 for _ in image_files(root / name)) for name in parts}
        train, test = number["train"], number.get("test", number.get("val", 0))
        own = number.get("val") if "test" in number else None
        classes = len(class_folders(root / "train"))
        side = _side(root / "train")
    else:
        raise UserError.of("data.root", f"got {data.get('root')!r}; takes a folder with train/")
    test = min(test, data["limit_test"] or test)
    held = round(train * float(data["holdout"])) if own is None else own
    if data["selection"] == "test":
        held = test
    elif own is None:
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
