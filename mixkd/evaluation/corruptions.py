"""Corrupted test images: accuracy, confidence, ECE, and gains over baselines (Table 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, Field

from mixkd.config.analyses import AnalysisConfig
from mixkd.config.data import CorruptedDataConfig, DataConfig
from mixkd.config.fields import PATH, PLACE, Name, NumpySeed, each_once, takes
from mixkd.config.sources import CORRUPTED, FILES, SOURCES, CorruptedName
from mixkd.console import say
from mixkd.data.corruption_names import CORRUPTIONS, PAPER, STANDARD
from mixkd.errors import Problem, UserError, nearest
from mixkd.evaluation.analysis import Analysis, Context
from mixkd.files.writing import write_csv

if TYPE_CHECKING:
    from mixkd.config.tasks import EvaluateConfig
    from mixkd.data.batches import EvaluationBatch
    from mixkd.data.images import AnyImages
    from mixkd.data.splits import Splits
    from mixkd.networks.network import Network
    from mixkd.runs.read import FoundRun
    from mixkd.runs.run import Metrics

    Form = str
else:
    Form = Literal["made", CorruptedName]

COLUMNS = ("network", "corruption", "severity")
DRAWN_METRICS = {"accuracy": "accuracy", "ece": "ECE", "confidence": "confidence"}


class CorruptionsConfig(AnalysisConfig):
    """The test images, corrupted: which corruptions and severities, made here or published."""

    order = 2
    prefix = "corruption/"
    is_drawn = True
    files = ("corruptions.csv",)
    columns = {"corruptions.csv": (("network", "corruption"), ("accuracy",))}  # noqa: RUF012
    shared_question = "corrupted ones"

    source: Form
    root: Annotated[str | None, PLACE, PATH, takes("a folder, or null")]
    names: Annotated[
        Literal["paper", "all"]
        | Annotated[list[Name], Field(min_length=1), AfterValidator(each_once)],
        takes("paper, all, or a list of names such as fog, each once"),
    ]
    severities: Annotated[
        list[Annotated[int, Field(ge=1, le=5)]],
        AfterValidator(each_once),
        takes("a list of whole numbers from 1 to 5", min_length=1),
    ]
    seed: NumpySeed

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the corruptions."""
        match self.names:
            case "paper":
                return PAPER
            case "all":
                return STANDARD
            case _:
                return tuple(self.names)

    @classmethod
    def contradictions(cls, keys: Mapping[str, Any], raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield names that are not known, and data or a folder that do not go with the source."""
        names, source, data = keys.get("names"), keys.get("source"), raw["data"]
        if data.get("source") in CORRUPTED:
            yield Problem("corruptions", "got true on data that are corrupted already")
        if isinstance(names, list) and source == "made":
            for name in names:
                if isinstance(name, str) and name not in CORRUPTIONS:
                    text = f"got {name!r}; takes paper, all, or some of {', '.join(CORRUPTIONS)}"
                    yield Problem("corruptions.names", text + nearest(name, CORRUPTIONS))
        if keys.get("root") is not None and source == "made":
            yield Problem("corruptions.root", "got a folder; corruptions.source=made reads none")
        if source in FILES and keys.get("root") is None:
            yield Problem("corruptions.root", "got null; takes the folder of ImageNet-C")
        elif source in FILES and data.get("size") is None:
            yield Problem("data.size", f"got null; {source} takes a number of pixels")

    def identity(self, keys: dict[str, Any]) -> dict[str, Any]:
        """Return its keys; in any order, by any word, corruptions are the same."""
        keys |= {"names": sorted(self.chosen), "severities": sorted(self.severities)}
        return keys if self.source == "made" else {k: v for k, v in keys.items() if k != "seed"}

    def further_data(self, data: DataConfig) -> Iterator[CorruptedDataConfig]:
        """Yield the published data that are asked for; none where images are made here."""
        if self.source != "made":
            for name in self.chosen:
                for severity in self.severities:
                    yield self.published(data, name, severity)

    def published(
        self, data: DataConfig, name: str, severity: int, source: str = "", size: int | None = None
    ) -> CorruptedDataConfig:
        """Return the data of a corruption in a published form: by default this section's.

        `size`, in pixels, is that of the views where it is not the evaluation's.
        """
        source = source or self.source
        on_disk = source in FILES
        chosen = {
            "source": source,
            "name": f"{source}-{name}-{severity}",
            **dict.fromkeys(("factory", "dataset", "args")),
            "root": self.root or (data.root if on_disk else "datasets"),
            "download": not on_disk,
            "resident": False,
            "workers": data.workers if on_disk else 0,
            "corruption": name,
            "severity": severity,
        }
        if size is not None:
            chosen |= {"size": size, "resize": None}
        return CorruptedDataConfig.model_validate(data.model_dump() | chosen)

    def forward_images(self, sizes: Mapping[str, int]) -> float:
        """Return how many images a network answers: the clean ones, and each set of corrupted."""
        return sizes["test"] * (len(self.chosen) * len(self.severities) + 1)


Load = Callable[[str, int], tuple["AnyImages", DataConfig]]


class Answers(NamedTuple):
    """What networks make of a set of images, by the name of the network.

    `metrics` are those of `Calibration`, with `scaled/confidence` and `scaled/ece`; `hits` whether
    it is right about each image, bool [n], or, over sets of the same images, how often, float64.
    """

    metrics: dict[str, dict[str, Any]]
    hits: dict[str, np.ndarray]

    @classmethod
    def mean(cls, sets: list[Answers]) -> Answers:
        """Return the means over sets of corruptions of the same images; `n` is their sum."""
        metrics: dict[str, dict[str, Any]] = {}
        for name, first in sets[0].metrics.items():
            rows = [answers.metrics[name] for answers in sets]
            means = {key: float(np.mean([row[key] for row in rows])) for key in first}
            metrics[name] = means | {"n": int(sum(row["n"] for row in rows))}
        hits = {n: np.mean([answers.hits[n] for answers in sets], axis=0) for n in sets[0].hits}
        return cls(metrics, hits)


class CorruptionsAnalysis(Analysis[CorruptionsConfig]):
    """Asks all networks about the clean and the corrupted test images.

    Writes corruptions.csv and figures of all networks. Metrics are of the one that is evaluated.
    """

    def prepare(self, cfg: EvaluateConfig, splits: Splits) -> None:
        """Make the images that are missing, or download published ones and look at all of them."""
        from mixkd.data.module import check_shares

        check_shares({"test": len(splits.test)}, cfg.trainer.devices)
        made = self.section.source == "made"
        self.load = (self._made if made else self._published)(cfg.data, splits)

    def _made(self, data: DataConfig, splits: Splits) -> Load:
        """Return what gives, by corruption and severity, images made of the test images."""
        from mixkd.data.corrupted import read_arrays, read_folders
        from mixkd.data.make_corrupted import make_corrupted

        names, seed = self.section.chosen, self.section.seed
        folder = make_corrupted(splits.test, splits.classes, names, data, seed)

        def load(name: str, severity: int) -> tuple[AnyImages, DataConfig]:
            if not splits.test.are_files:
                images = read_arrays(folder, name, severity, len(splits.classes))
                return images, data.model_copy(update={"workers": 0})
            size = splits.test.stored[0]
            place = self.section.published(data, name, severity, "imagenet_c", size)
            return read_folders(folder, place, by_content=False)[0], data

        return load

    def _published(self, data: DataConfig, splits: Splits) -> Load:
        """Return what gives, by corruption and severity, published images."""
        from mixkd.data.splits import load_splits

        source = self.section.source
        arrays = SOURCES[source].arrays

        def check(classes: tuple[str, ...]) -> None:
            if classes != splits.classes:
                raise UserError.of(
                    "corruptions.source",
                    f"{source} has {len(classes)} classes, {', '.join(classes[:3])} ...; the "
                    f"data has {len(splits.classes)}, {', '.join(splits.classes[:3])} ...",
                )

        def load(name: str, severity: int) -> tuple[AnyImages, DataConfig]:
            place = self.section.published(data, name, severity)
            try:
                corrupted = load_splits(place)
            except UserError as error:
                key = error.problems[0].key.replace("data.", "corruptions.")
                raise UserError.of(key, error.problems[0].text) from error
            check(corrupted.classes)
            return corrupted.test, place

        if arrays is not None:  # before anything is downloaded
            check(arrays.classes)
        for place in self.section.further_data(data):
            load(place.corruption, place.severity)
        return load

    @classmethod
    def derived(cls, run: FoundRun) -> dict[str, float]:
        """Return the gains over the baseline that learned from labels alone, as `gain`."""
        return {
            name.removesuffix("_erm"): value
            for name, value in run.metrics.items()
            if name.startswith(CorruptionsConfig.prefix) and name.endswith("/gain_erm")
        }

    def measure(self, context: Context) -> Metrics:
        """Return `corruption/<name>/<severity>/...`; write corruptions.csv and figures."""
        import torch

        from mixkd.plots.corruptions import corruptions_figure

        names, severities = self.section.chosen, self.section.severities
        evaluated, test = context.evaluated, context.data.splits.test
        clean = self.answers(context, test, context.cfg.data)
        # Whether they are the test images, one by one: not where they come in another order.
        paired = torch.equal(self.load(names[0], severities[0])[0].labels, test.labels)
        rows: list[dict[str, Any]] = []
        metrics: Metrics = {}

        def add(name: str, severity: int | str, answers: Answers, key: str) -> None:
            before = None if name == "clean" else clean
            gains = _gains(answers, before, evaluated, context.cfg.baselines, paired)
            for network, values in answers.metrics.items():
                row = {"network": network, "corruption": name, "severity": severity, **values}
                rows.append(row | (gains if network == evaluated else {}))
            values = answers.metrics[evaluated] | gains
            metrics.update({f"corruption/{key}/{k}": value for k, value in values.items()})

        add("clean", 0, clean, "clean")
        all_answers: list[Answers] = []
        for number, name in enumerate(names, start=1):
            group = [self.answers(context, *self.load(name, severity)) for severity in severities]
            for severity, answers in zip(severities, group, strict=True):
                add(name, severity, answers, f"{name}/{severity}")
            mean = Answers.mean(group)
            add(name, "mean", mean, f"{name}/mean")
            values = mean.metrics[evaluated]
            say(
                f"corruption {number}/{len(names)} {name}: accuracy {values['accuracy']:.4f}, "
                f"ece {values['ece']:.4f} over severities"
            )
            all_answers += group
        add("mean", "mean", Answers.mean(all_answers), "mean")
        if context.writes:
            columns = dict.fromkeys(COLUMNS) | {name: "" for row in rows for name in row}
            write_csv(context.run.path / "corruptions.csv", [columns | row for row in rows])
            for column, label in DRAWN_METRICS.items():
                figure = corruptions_figure(rows, column, label)
                context.save_figure(figure, f"corruptions-{column}")
        return metrics

    def answers(self, context: Context, images: AnyImages, data: DataConfig) -> Answers:
        """Ask all networks about a set of images."""
        from mixkd.data.module import ImageDataModule
        from mixkd.evaluation.one_pass import run_pass

        counts = NetworkCounts(context.networks, context.temperatures)
        module = ImageDataModule(replace(context.data.splits, test=images), data)
        return run_pass(context.trainer, module, counts.parts, counts.update, counts.compute)


class NetworkCounts:
    """Counts what networks get right of one set of images, and how sure they are.

    Those for which there are temperatures are measured by their scaled logits, too.
    """

    def __init__(self, networks: Mapping[str, Network], temperatures: Mapping[str, float]) -> None:
        from mixkd.metrics.calibration import Calibration

        self.networks, self.temperatures = networks, temperatures
        self.plain = {name: Calibration() for name in networks}
        self.scaled = {name: Calibration() for name in temperatures}
        self.parts = (*networks.values(), *self.plain.values(), *self.scaled.values())
        self._batches: list[dict[str, Any]] = []

    def update(self, batch: EvaluationBatch) -> None:
        """Count a batch."""
        hits = {"index": batch.index.cpu()}
        for name, network in self.networks.items():
            logits = network(batch.view)
            self.plain[name].update(logits, batch.label)
            if name in self.scaled:
                scaled = logits.double() / self.temperatures[name]
                self.scaled[name].update(scaled, batch.label)
            hits[f"hit/{name}"] = (logits.argmax(dim=1) == batch.label).cpu()
        self._batches.append(hits)

    def compute(self) -> Answers:
        """Return what was counted, over all processes."""
        from mixkd.metrics.measurement import gathered

        metrics: dict[str, dict[str, Any]] = {n: dict(m.compute()) for n, m in self.plain.items()}
        for name, metric in self.scaled.items():
            scaled = metric.compute()
            metrics[name] |= {f"scaled/{key}": scaled[key] for key in ("confidence", "ece")}
        hits = gathered(self._batches)
        return Answers(metrics, {name: hits[f"hit/{name}"].numpy() for name in self.networks})


def _gains(
    answers: Answers, clean: Answers | None, evaluated: str, baselines: Mapping[str, Any],
    paired: bool,
) -> Metrics:  # fmt: skip
    """Return what the evaluated network gains over each baseline, as `accuracy_gain` names it."""
    from mixkd.metrics.paired import accuracy_gain

    gains: Metrics = {}
    for baseline in baselines:
        before = None if clean is None else (clean.hits[evaluated], clean.hits[baseline])
        hits = answers.hits[evaluated], answers.hits[baseline]
        gain = accuracy_gain(*hits, before, paired=paired)
        gains |= {f"{key}_{baseline}": value for key, value in gain.items()}
    return gains
