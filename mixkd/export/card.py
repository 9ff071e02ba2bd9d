"""The model card of an export: the Hub's front matter, and what people want to know. No torch.

A run directory may be a stranger's: what is read from it is shown as code, in one line.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mixkd.config.parts import method_name
from mixkd.console import printable
from mixkd.networks.origin import PREFIX
from mixkd.redact import redact
from mixkd.report.table import COLUMNS, as_markdown, metrics_table
from mixkd.runs.provenance import PACKAGES

# By name, as the Hub's front matter calls them: without units.
METRICS = {column.name: column.heading.partition(" (")[0] for column in COLUMNS[1:]}

PAPER = "https://arxiv.org/abs/2606.12171"


@dataclass(frozen=True)
class Facts:
    """What a card is written from."""

    name: str  # of the export, for its heading
    record: Mapping[str, Any]  # config.json
    training: Mapping[str, Any]  # the run's configuration
    metrics: Mapping[str, float]  # the run's, finite
    provenance: Mapping[str, Any]  # the run's
    difference: float  # the largest between the run's logits and the export's
    scale: float  # the run's largest logit, in size
    images: str  # on what they were compared
    figure: bool  # whether reliability.png is there
    ledger: bool  # whether claims.md is there
    license: str | None  # of the weights
    address: str | None  # hf_hub:USER/NAME; None: the folder itself

    @property
    def by_timm(self) -> bool:
        """Whether timm loads it."""
        return "architecture" in self.record

    @property
    def format(self) -> str:
        """safetensors, onnx or torch."""
        return str(self.record["mixkd"]["format"])


def card(facts: Facts) -> str:
    """Return README.md."""
    templates = Environment(loader=PackageLoader("mixkd.export", "."), undefined=StrictUndefined)
    templates.filters["code"] = code
    record, training, address = facts.record["mixkd"], facts.training, facts.address
    command = facts.provenance.get("command")
    command = command if isinstance(command, list) else []
    table = ""
    if all(f"test/{metric}" in facts.metrics for metric in (*METRICS, "n")):
        table = metrics_table("metrics", "", "", [("as it is", facts.metrics)], "test").markdown()
    text = templates.get_template("card.md.j2").render(
        vars(facts),
        code=code,
        version=version("mixkd"),
        paper=PAPER,
        title=as_markdown(facts.name),
        front_matter=front_matter(facts),
        mixkd=record,
        data=record["data"],
        names=facts.record["label_names"],
        network=_network(record["network"]),
        input_size=record["network"]["input_size"],
        teacher=_network(_section(training, "teacher")),
        select=_section(training, "trainer").get("select"),
        table=table,
        format=facts.format,
        by_timm=facts.by_timm,
        hub_name=(address or "").removeprefix(PREFIX),
        height=record["view"][0],
        width=record["view"][1],
        preprocessing=facts.record["pretrained_cfg"],
        making=_making(facts),
        command=" ".join(without_places(str(part)) for part in command),
    )
    return redact(text) + "\n"


def front_matter(facts: Facts) -> str:
    """Return the Hub's metadata as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    data = str(facts.record["mixkd"]["data"]["name"])
    results = [
        EvalResult(
            "image-classification", data, data, metric, facts.metrics[f"test/{metric}"],
            dataset_split="test", metric_name=name,
        )
        for metric, name in METRICS.items()
        if f"test/{metric}" in facts.metrics
    ]  # fmt: skip
    card_data = ModelCardData(
        model_name=facts.name,
        library_name="timm" if facts.by_timm and facts.format == "safetensors" else "mixkd",
        pipeline_tag="image-classification",
        tags=["mixkd", "image-classification", "calibration"]
        + ["knowledge-distillation"] * ("teacher" in facts.training),
        license=facts.license,
        eval_results=results or None,
    )
    return str(card_data.to_yaml())


def _making(facts: Facts) -> list[tuple[str, Any]]:
    """Return how the network was made: what, and how it is; None where nothing is known."""
    training, data = facts.training, facts.record["mixkd"]["data"]
    method, mix = _section(training, "method"), _section(_section(training, "method"), "mix")
    prints = _section(facts.provenance, "fingerprints")
    packages = _section(facts.provenance, "packages")
    trainer, optimizer = _section(training, "trainer"), _section(training, "optimizer")
    shown = [key for key in ("kind", "lam", "per", "prob") if key in mix]
    mixing = ", ".join(f"{key} {mix[key]}" for key in shown) or None
    taught: list[tuple[str, Any]] = [
        ("temperature of the loss", training.get("temperature")),
        ("weights of the loss", f"alpha {method.get('alpha')}, beta {method.get('beta')}"),
        ("teacher", _network(_section(training, "teacher"))),
        ("teacher's weights, sha256", prints.get("teacher")),
    ]
    select = trainer.get("select")
    selects = "the test images" if data.get("selection") == "test" else "held-out images"
    epoch = facts.metrics.get("selected_epoch")
    versions = [f"{name} {packages[name]}" for name in PACKAGES if name in packages]
    return [
        ("method", method_name(training) or None),
        ("mixing", mixing),
        *(taught if "teacher" in training else []),
        ("data", data.get("name")),
        ("images and split, sha256", prints.get("data", prints.get("data_files"))),
        ("protocol", training.get("protocol", "none")),
        ("selection", select if select == "last" else f"{select}, on {selects}"),
        ("epochs", trainer.get("max_epochs")),
        ("epoch kept, from 0", None if epoch is None else int(epoch)),
        ("optimizer", f"{optimizer.get('name')}, lr {optimizer.get('lr')}"),
        ("seed", training.get("seed")),
        ("weights, sha256", facts.record["mixkd"]["weights"]),
        ("mixkd's revision", facts.provenance.get("git")),
        ("packages", ", ".join(versions) or None),
    ]


def without_places(word: str) -> str:
    """Return a word of a command in one line, with absolute paths cut to their last part."""
    word = printable(" ".join(word.split()))
    return re.sub(r"(?<![\w./@-])(~|/(?!/))[^\s,\]}'\"]*/(?=[^/])", "", word)


def code(value: Any) -> str:
    """Return any value as Markdown code, in one line, also in a table."""
    text = " ".join(printable(str(value)).replace("`", "'").split()).replace("|", "\\|")
    return f"`{text}`" if text else ""


def _network(section: Mapping[str, Any]) -> str:
    name, args = section.get("name") or section.get("factory"), section.get("args")
    return f"{name} {args}" if args else str(name)


def _section(part: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a mapping within another; an empty one where there is none."""
    section = part.get(name)
    return section if isinstance(section, Mapping) else {}
