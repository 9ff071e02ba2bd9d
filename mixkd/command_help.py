"""`mixkd COMMAND --help`: what it does, its groups and main keys, and two examples. No torch."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from pydantic.fields import FieldInfo
from tabulate import tabulate

from mixkd.config.arguments import folders_of, read_arguments
from mixkd.config.commands import OTHER_KEYS
from mixkd.config.compose import REFUSALS, composed_with_choices, expand
from mixkd.config.fields import fields_of
from mixkd.config.shipped import group_names
from mixkd.config.tasks import SCHEMAS, EvaluateLogitsConfig
from mixkd.request import refused

_TRAINING = ("data.root", "data.batch_size", "trainer.max_epochs", "optimizer.lr", "seed",
             "run.root", "run.force")  # fmt: skip
MAIN_KEYS = {
    "finetune": ("network.pretrained", *_TRAINING),
    "distill": ("teacher.run", "teacher.weights", "teacher.auto", "temperature", *_TRAINING),
    "evaluate": ("network.run", "network.weights", "teacher.run", "logits", "splits", "run.root"),
    "export": ("network.run", "format", "out", "push", "license"),
}
EXAMPLES = {
    "finetune": (
        "mixkd finetune data=digits network=resnet20 trainer.max_epochs=5",
        "mixkd finetune -m experiment=cifar100_teacher network=resnet56,resnet110 seed=0,1,2",
    ),
    "distill": (
        "mixkd distill data=digits teacher=resnet20 teacher.auto=true student=mobilenetv2",
        "mixkd distill -m experiment=cifar100_mixup temperature=1,2,4,sigma",
    ),
    "evaluate": (
        "mixkd evaluate network.run=STUDENT teacher.run=TEACHER vicinal=true",
        "mixkd evaluate network.run=RUN corruptions=true features=true",
    ),
    "export": (
        "mixkd export network.run=RUN",
        "mixkd export network.run=RUN format=onnx out=DIR",
    ),
    "compare": (
        "mixkd compare network.run=RUN other.run=STUDENT",
        "mixkd compare network.run=RUN other.run=STUDENT split=val out=table.csv",
    ),
    "report": ("mixkd report", "mixkd report runs=runs out=DIR"),
    "reproduce": (
        "mixkd reproduce table1 scale=smoke",
        "mixkd reproduce all scale=laptop plan=true",
    ),
    "list": ("mixkd list networks", "mixkd list experiments --config-dir DIR"),
    "dashboard": ("mixkd dashboard out=DIR", "mixkd dashboard entity=NAME project=mixkd"),
}


def help_of(command: str, arguments: Sequence[str], whole: str) -> str:
    """Return the help of a command with some arguments, which may choose from its groups.

    `whole` is that of mixkd, of which the paragraph on the command is a part; it is all that there
    is on what is no command.

    Raises:
        UserError: for what is wrong with the arguments.
    """
    if command not in EXAMPLES:
        return whole
    parts = [_paragraph(command, whole)]
    if command in SCHEMAS:
        overrides = read_arguments(arguments).overrides
        try:
            cfg, chosen = composed_with_choices(command, expand(command, overrides))
        except REFUSALS as error:
            raise refused(command, overrides, error) from error
        parts.append(_table("GROUP=NAME", _groups(command, chosen, folders_of(overrides))))
        if command == "evaluate":
            lines = group_names("analysis").items()
            rows = [(f"{name}=true", text.partition(": ")[2]) for name, text in lines]
            parts.append(_table("analyses", rows))
        parts.append(_table("main keys", _keys(command, cfg)))
    else:
        rows = [(f"{key}=", text) for key, text in OTHER_KEYS[command].items()]
        parts.append(_table("keys", rows))
    parts.append("  examples\n" + "\n".join(f"    {line}" for line in EXAMPLES[command]))
    adds = "--config-dir DIR adds your groups"
    if command in SCHEMAS:
        parts.append(f"  `mixkd {command} --cfg job` prints every key; {adds}")
    elif command in ("list", "reproduce", "dashboard"):
        parts.append(f"  {adds}")
    return "\n\n".join(parts)


def _paragraph(command: str, whole: str) -> str:
    lines = iter(whole.splitlines())
    first = next(line for line in lines if line.split()[:2] == ["mixkd", command])
    rest = []
    for line in lines:
        if not line.startswith("     "):
            break
        rest.append(line)
    return "\n".join([first, *rest])


def _table(title: str, rows: Any) -> str:
    table = tabulate([list(row) for row in rows], tablefmt="plain", disable_numparse=True)
    return f"  {title}\n{textwrap.indent(table, '    ')}"


def _groups(
    command: str, chosen: Mapping[str, Any], folders: Sequence[Path]
) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what is chosen, what there is to choose from) of each group of a command."""
    listed: dict[str, str] = {}
    for key, name in chosen.items():
        group = {"teacher": "network", "student": "network"}.get(key, key)
        names = list(group_names(f"protocol/{command}" if key == "protocol" else group, folders))
        if len(names) < 2 and key not in ("experiment", "divergence", "hint"):
            continue
        text = textwrap.fill(", ".join(names), 68) if group not in listed else f"as {listed[group]}"
        listed.setdefault(group, key)
        now = {"_none": "-", "None": "-", "_same": "the run's"}.get(str(name), str(name))
        yield f"{key}=", now, text


def _keys(command: str, cfg: DictConfig) -> Iterator[tuple[str, str, str]]:
    """Yield (key, its value, what it takes) of the main keys of a command."""
    fields = chain(fields_of(EvaluateLogitsConfig), fields_of(SCHEMAS[command]))
    takes = {key: text for key, field in fields if (text := _takes(field))}
    for key in MAIN_KEYS[command]:
        value = OmegaConf.select(cfg, key, default="")
        yield f"{key}=", "null" if value is None else str(value).lower(), takes.get(key, "")


def _takes(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(map(str, get_args(field.annotation)))
    return field.description or ""
