"""The model card of an export: the Hub's front matter, and what people want to know. No torch.

A run directory may be a stranger's: what is read from it is shown as code, in one line.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mixkd import __version__
from mixkd.console import printable
from mixkd.networks.hub import PREFIX
from mixkd.redact import hide
from mixkd.report.table import as_markdown, metrics_table
from mixkd.runs.provenance import PACKAGES

METRICS = {
    "accuracy": "Accuracy",
    "confidence": "Confidence",
    "ece": "ECE",
    "signed_gap": "Signed gap",
    "nll": "NLL",
    "brier": "Brier",
}

PAPER = "https://arxiv.org/abs/2606.12171"


@dataclass(frozen=True)
class Facts:
    """What a card is written from.

    Attributes:
        name: of the export, for its heading.
        record: config.json.
        training: the run's configuration.
        metrics: the run's, finite.
        provenance: the run's.
        difference: the largest between the run's logits and the export's.
        scale: the run's largest logit, in size.
        images: on what they were compared.
        figure: whether reliability.png is there.
        ledger: whether claims.md is there.
        license: of the weights; None: not said.
        address: hf_hub:USER/NAME; None: the folder itself.
    """

    name: str
    record: Mapping[str, Any]
    training: Mapping[str, Any]
    metrics: Mapping[str, float]
    provenance: Mapping[str, Any]
    difference: float
    scale: float
    images: str
    figure: bool
    ledger: bool
    license: str | None
    address: str | None

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
    parts = [
        f"---\n{front_matter(facts)}\n---\n\n# {as_markdown(facts.name)}",
        _summary(facts),
        "## How good it is, and how sure",
        _results(facts),
        "## How to load it",
        _loading(facts),
        "## What goes in",
        _input(facts),
        "## How it was made",
        _making(facts),
        "## What it says about the paper",
        _claims(facts),
    ]
    return hide("\n\n".join(parts)) + "\n"


def front_matter(facts: Facts) -> str:
    """Return the Hub's metadata as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    data = str(facts.record["mixkd"]["data"]["name"])
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=data,
            dataset_name=data,
            dataset_split="test",
            metric_type=metric,
            metric_name=name,
            metric_value=facts.metrics[f"test/{metric}"],
        )
        for metric, name in METRICS.items()
        if f"test/{metric}" in facts.metrics
    ]
    found = ModelCardData(
        model_name=facts.name,
        library_name="timm" if facts.by_timm and facts.format == "safetensors" else "mixkd",
        pipeline_tag="image-classification",
        tags=["mixkd", "image-classification", "calibration", *_method_tags(facts)],
        license=facts.license,
        eval_results=results or None,
    )
    text: str = found.to_yaml()
    return text


def _method_tags(facts: Facts) -> list[str]:
    return ["knowledge-distillation"] if "teacher" in facts.training else []


def _summary(facts: Facts) -> str:
    classes = len(facts.record["label_names"])
    data = facts.record["mixkd"]["data"]["name"]
    text = f"{code(_network(facts.record['mixkd']['network']))} tells the {classes} classes of "
    text += f"{code(data)} apart. mixkd {code(__version__)} made this folder"
    if "teacher" in facts.training:
        text += (
            f", and the network learnt from a teacher, {code(_network(_section(facts, 'teacher')))}"
        )
    return f'{text}, after "Beyond Dark Knowledge" ([arXiv:2606.12171]({PAPER})).'


def _results(facts: Facts) -> str:
    if any(f"test/{metric}" not in facts.metrics for metric in (*METRICS, "n")):
        return "The run has not been measured."
    table = metrics_table("metrics", "", "", [("as it is", facts.metrics)], "test").markdown()
    text = f"{table}\nOn {facts.metrics['test/n']:,.0f} test images. "
    text += (
        "Fractions, and nats for the NLL; ECE has 15 bins of equal width; the signed gap is "
        "confidence minus accuracy, and above 0 is overconfident; Brier is between 0 and 2."
    )
    if facts.record["mixkd"]["temperature"] is not None:
        text += (
            " The second row is temperature scaling, one number fitted on held-out images. The "
            "files give the logits as they are: divide them by it."
        )
    if facts.record["mixkd"]["data"].get("selection") == "test":
        text += " The epoch was selected on these very images, so that the numbers are optimistic."
    if facts.figure:
        text += "\n\n![Reliability: accuracy against confidence](reliability.png)"
    return text


def _loading(facts: Facts) -> str:
    hub = facts.address is not None
    name = (facts.address or "").removeprefix(PREFIX)
    height, width = facts.record["mixkd"]["view"]
    images = f"torch.rand(1, 3, {height}, {width})  # float32 in [0, 1]"
    match facts.format:
        case "onnx":
            path = f'hf_hub_download("{name}", "model.onnx")' if hub else '"model.onnx"'
            return _python(
                "import json\nimport numpy as np\nimport onnxruntime"
                + ("\nfrom huggingface_hub import hf_hub_download" if hub else ""),
                f"session = onnxruntime.InferenceSession({path})\n"
                "about = session.get_modelmeta().custom_metadata_map\n"
                'classes = json.loads(about["classes"])\n'
                f"images = np.random.rand(1, 3, {height}, {width}).astype(np.float32)"
                "  # in [0, 1]\n"
                'logits = session.run(None, {"image": images})[0]\n'
                "print(classes[logits[0].argmax()])",
            )
        case "torch":
            path = f'hf_hub_download("{name}", "model.pt2")' if hub else '"model.pt2"'
            return _python(
                "import json\nimport torch"
                + ("\nfrom huggingface_hub import hf_hub_download" if hub else ""),
                'about = {"mixkd.json": ""}\n'
                f"program = torch.export.load({path}, extra_files=about)\n"
                'classes = json.loads(about["mixkd.json"])["classes"]\n'
                f"images = {images}\n"
                "with torch.inference_mode():\n"
                "    logits = program.module()(images)\n"
                "print(classes[logits[0].argmax()])",
            )
        case _:
            where = facts.address or "."
            command = f"mixkd evaluate network{'=' if hub else '.export='}{where}"
            own = _python(
                "import torch\nfrom mixkd import load_network",
                f'network, classes = load_network("{where}")\n'
                f"images = {images}\n"
                "with torch.inference_mode():\n"
                "    logits = network(images)  # it normalises them itself\n"
                "print(classes[logits[0].argmax()])",
            )
            own = f"With mixkd, in Python and on the command line:\n\n{own}\n\n    {command}"
            if not facts.by_timm:
                return (
                    f"timm has no such network: mixkd loads it (`pip install mixkd`), and timm "
                    f"does not.\n\n{own}"
                )
            model = f"hf-hub:{name}" if hub else "local-dir:."
            by_timm = _python(
                "import timm\nimport torch\nfrom PIL import Image",
                f'model = timm.create_model("{model}", pretrained=True).eval()\n'
                "transform = timm.data.create_transform(**timm.data.resolve_model_data_config("
                "model))\n"
                f'image = Image.new("RGB", ({width}, {height}))'
                '  # Image.open(FILE).convert("RGB")\n'
                "with torch.inference_mode():\n"
                "    logits = model(transform(image)[None])\n"
                'print(model.pretrained_cfg["label_names"][int(logits.argmax())])',
            )
            return f"With timm:\n\n{by_timm}\n\n{own}"


def _input(facts: Facts) -> str:
    look, (height, width) = facts.record["pretrained_cfg"], facts.record["mixkd"]["view"]
    size = facts.record["mixkd"]["network"]["input_size"]
    lines = [
        f"- RGB images of {height} x {width} pixels, each resized whole (bilinear, antialiased)."
    ]
    if size is not None and [height, width] != [size, size]:
        lines.append(
            f"- The network resizes them to {size} x {size}, within the file of a program."
        )
    within = "within the file"
    if facts.format == "safetensors":
        within = "by mixkd's network itself"
        within += "; timm's transform does it for timm" if facts.by_timm else ""
    lines.append(f"- Normalised {within}: mean {look['mean']}, standard deviation {look['std']}.")
    names = facts.record["label_names"]
    shown = ", ".join(map(code, names[:100]))
    more = f" and {len(names) - 100} more, in config.json" if len(names) > 100 else ""
    lines.append(f"- Classes, in the order of the logits: {shown}{more}.")
    lines.append(
        f"- Checked: on {facts.images} the logits of this export differ by at most "
        f"{facts.difference:.2g} from the run's, whose largest is {facts.scale:.3g}."
    )
    return "\n".join(lines)


def _making(facts: Facts) -> str:
    training, data = facts.training, facts.record["mixkd"]["data"]
    method = _section(facts, "method")
    rows: list[tuple[str, Any]] = [("method", method.get("name"))]
    if isinstance(mix := method.get("mix"), Mapping):
        rows.append(("mixing", ", ".join(f"{k} {mix.get(k)}" for k in ("kind", "lam", "per"))))
    prints = facts.provenance.get("fingerprints")
    prints = prints if isinstance(prints, Mapping) else {}
    if "teacher" in training:
        rows += [
            ("temperature of the loss", training.get("temperature")),
            ("weights of the loss", f"alpha {method.get('alpha')}, beta {method.get('beta')}"),
            ("teacher", _network(_section(facts, "teacher"))),
            ("teacher's weights, sha256", prints.get("teacher")),
        ]
    kept = facts.metrics.get("selected_epoch")
    trainer, optimizer = _section(facts, "trainer"), _section(facts, "optimizer")
    rows += [
        ("data", data.get("name")),
        ("images and split, sha256", prints.get("data", prints.get("data_files"))),
        ("protocol", training.get("protocol", "none")),
        ("selection", f"{trainer.get('select')}, on {_selected_on(data)}"),
        ("epochs", trainer.get("max_epochs")),
        ("epoch kept, from 0", int(kept) if kept is not None else None),
        ("optimizer", f"{optimizer.get('name')}, lr {optimizer.get('lr')}"),
        ("seed", training.get("seed")),
        ("weights, sha256", facts.record["mixkd"]["weights"]),
        ("mixkd's revision", facts.provenance.get("git")),
        ("packages", _packages(facts.provenance)),
    ]
    lines = ["| | |", "| --- | --- |"]
    lines += [f"| {name} | {code(value)} |" for name, value in rows if value is not None]
    return "\n".join(lines) + f"\n\nThe command, without the machine's paths:\n\n{_command(facts)}"


def _selected_on(data: Mapping[str, Any]) -> str:
    return "the test images" if data.get("selection") == "test" else "held-out images"


def _packages(provenance: Mapping[str, Any]) -> str | None:
    known = provenance.get("packages")
    if not isinstance(known, Mapping):
        return None
    return ", ".join(f"{name} {known[name]}" for name in PACKAGES if name in known)


def _command(facts: Facts) -> str:
    words = facts.provenance.get("command")
    words = words if isinstance(words, list) else []
    return f"    {' '.join(without_places(str(word)) for word in words)}"


def without_places(word: str) -> str:
    """Return a word of a command in one line, with absolute paths cut to their last part."""
    word = printable(" ".join(word.split()))
    return re.sub(r"(?<![\w./@-])(~|/(?!/))[^\s,\]}'\"]*/(?=[^/])", "", word)


def _claims(facts: Facts) -> str:
    text = (
        f"The claims of [the paper]({PAPER}) compare networks, over teachers, temperatures and "
        "seeds: one network decides none of them. `mixkd report` judges them from many runs."
    )
    if facts.ledger:
        text += (
            " The [ledger](claims.md) of the report that this run belongs to is beside this card."
        )
    return text


def code(value: Any) -> str:
    """Return any value as Markdown code, in one line, also in a table."""
    text = " ".join(printable(str(value)).replace("`", "'").split()).replace("|", "\\|")
    return f"`{text}`" if text else ""


def _network(section: Mapping[str, Any]) -> str:
    name, args = section.get("name") or section.get("factory"), section.get("args")
    return f"{name} {args}" if args else str(name)


def _section(facts: Facts, name: str) -> Mapping[str, Any]:
    found = facts.training.get(name)
    return found if isinstance(found, Mapping) else {}


def _python(imports: str, body: str) -> str:
    return f"```python\n{imports}\n\n{body}\n```"
