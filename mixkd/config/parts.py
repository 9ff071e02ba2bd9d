"""Parts that users bring: a callable by its dotted path, and its arguments; Hydra's `_target_`."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from mixkd.config.fields import AsBefore, Name, NonNegative, Section, takes
from mixkd.config.shipped import label_losses, shipped_values
from mixkd.errors import Problem, nearest, shown
from mixkd.files.layout import RECORDS, RESULTS

DOTTED = takes("a dotted path, package.module.function", pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)+$")

ARGUMENTS = takes("keyword arguments, {key: value}")


class PartConfig(Section):
    """A part of one's own: what `factory` makes of `args`. `name` is for run names and tables."""

    name: Annotated[Name | None, takes("letters, digits, _, - and ., or null")] = None
    factory: Annotated[str, DOTTED]
    args: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments, {key: value}"
    )

    @property
    def label(self) -> str:
        """Its name in run names and tables."""
        return self.name or self.factory.rpartition(".")[2]


class NamedPartsConfig(Section):
    """Shipped sections, and parts of one's own beside them, by names that are theirs to choose."""

    model_config = ConfigDict(extra="allow")
    further = PartConfig

    __pydantic_extra__: dict[str, PartConfig]

    @property
    def parts(self) -> dict[str, PartConfig]:
        """The parts that the user brings, by name."""
        return self.__pydantic_extra__ or {}

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what is neither a shipped section nor a part."""
        for name, section in raw.items():
            if name in cls.model_fields:
                continue
            if not isinstance(section, Mapping) or section.get("factory") is None:
                close, shipped = nearest(name, cls.model_fields), ", ".join(cls.model_fields)
                takes = f"no such key{close}; takes {shipped}, or one of yours, by its factory"
                yield Problem(name, takes)
            else:
                yield from name_mistakes("", {name: section}, FILE_NAMES)


Layers = Annotated[
    list[str] | None, AsBefore(None), takes("a list of layers, or null", min_length=1)
]


class HintConfig(PartConfig):
    """A comparison of features, its weight in the loss, and the layers that it compares."""

    weight: NonNegative = 1.0
    student_layers: Layers = None
    teacher_layers: Layers = None


# The keys of a hint beside its name and its callable.
FURTHER = ("weight", "student_layers", "teacher_layers")

# The keys of a configuration that hold one part each, and those that hold parts by name.
NETWORKS = ("network", "teacher", "student")
PARTS = (*NETWORKS, "data", "divergence", "hint", "method", "optimizer", "schedule")
NAMED_PARTS = ("callbacks", "logger", "metrics", "analyses")

# Those that are called with more than their arguments, later: Hydra's `_partial_` says so.
CALLED_LATER = ("divergence", "hint", "method", "optimizer", "schedule")

TARGET = "_target_"


def with_factories(raw: dict[str, Any], own_keys: Mapping[str, set[str]]) -> Iterator[Problem]:
    """Rewrite, in place, each part in Hydra's form as `factory` and `args`; yield what cannot be.

    Args:
        raw: a composed configuration.
        own_keys: by part, the keys that stay beside `_target_`; all others are arguments.
    """
    for key in PARTS:
        section = raw.get(key)
        if isinstance(section, dict) and TARGET in section:
            yield from _rewrite(key, key, section, own_keys.get(key, set()))
    for key in NAMED_PARTS:
        for name, section in (raw.get(key) or {}).items():
            if isinstance(section, dict) and TARGET in section:
                yield from _rewrite(f"{key}.{name}", key, section, set())


def _rewrite(key: str, kind: str, section: dict[str, Any], keep: set[str]) -> Iterator[Problem]:
    target, partial = section.pop(TARGET), section.pop("_partial_", None)
    if partial not in (None, kind in CALLED_LATER):
        text = "is called once, with its arguments" if partial else "is called later, with more"
        yield Problem(f"{key}._partial_", f"got {shown(partial)}; {key} {text}; leave it out")
    for option in ("_args_", "_convert_", "_recursive_"):
        if option in section:
            yield Problem(f"{key}.{option}", "is not taken; arguments are given by their names")
            del section[option]
    if section.get("factory") is not None:
        yield Problem(f"{key}.factory", f"got one beside {TARGET}; give one of them")
    given = section.pop("args", None)
    if not isinstance(given, Mapping | None):
        yield Problem(f"{key}.args", f"got {shown(given)}; takes keyword arguments, {{key: value}}")
    args = dict(given) if isinstance(given, Mapping) else {}
    for name in [name for name in section if name not in keep | {"factory"}]:
        if name in args:  # which of them counts, nobody could see
            yield Problem(f"{key}.args.{name}", f"{key}.{name} is the same; give one of them")
        args[name] = section.pop(name)
    section |= {"factory": target, "args": args}


def factories(section: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield each callable that a section names, or what is within it, after the key that does."""
    if isinstance(section, Mapping):
        for name, value in section.items():
            inner = f"{key}.{name}".lstrip(".")
            is_argument = "args" in key.split(".")  # where `factory` is a word like any other
            if value is not None and (name == TARGET or (name == "factory" and not is_argument)):
                yield inner, str(value)
            else:
                yield from factories(value, inner)
    elif isinstance(section, (list, tuple)):
        for number, part in enumerate(section):
            yield from factories(part, f"{key}[{number}]")


OWN_NAME = re.compile(r"[a-z]\w*")

# What files and folders of a run are called, which no part of a user's is, beside its own.
FILE_NAMES = {name.partition("/")[0].partition(".")[0] for name in (*RECORDS, *RESULTS)}


def name_mistakes(key: str, parts: Any, taken: Collection[str]) -> Iterator[Problem]:
    """Yield the names of a key's parts that are none, or that stand for something else already."""
    for name in parts if isinstance(parts, Mapping) else ():
        place = f"{key}.{name}".lstrip(".")
        if not OWN_NAME.fullmatch(str(name)):
            yield Problem(place, "takes small letters, digits and _ as a name")
        elif name in taken:
            yield Problem(place, "is a name that mixkd has already; takes another")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def method_name(raw: Mapping[str, Any], args: bool = False) -> str:
    """Return the method of a training, with what is not the usual: `kd_cutmix+dkd`, `focal+mixup`.

    Args:
        raw: a configuration, of values of any type as a saved one may have them.
        args: whether what is not as shipped is told too, of losses and of how images are mixed,
            `kd_mixup(prob=0.5)+dkd(beta=2)`; of the user's own parts, optimizer and schedule among
            them, that is all arguments.
    """

    def with_args(name: str, given: Any) -> str:
        listed = given.items() if args and isinstance(given, Mapping) else ()
        text = ",".join(f"{key}={value}" for key, value in listed)
        return f"{name}({text})" if text else name

    def part_name(section: Mapping[str, Any], group: str = "") -> str:
        factory, own = section.get("factory"), section.get("name")
        if not isinstance(factory, str):
            return str(own)
        shipped = shipped_values(group, own) if isinstance(own, str) else {}
        if shipped.get("factory") != factory:
            shipped = {"weight": 1.0}
        told, usual = (
            {**_mapping(values.get("args")), **{k: values[k] for k in FURTHER if k in values}}
            for values in (section, shipped)
        )
        given = {key: value for key, value in told.items() if value != usual.get(key)}
        label = own if isinstance(own, str) else factory.rpartition(".")[2]
        return with_args(label, given)

    method = raw.get("method")
    if not isinstance(method, Mapping) or not isinstance(name := method.get("name"), str):
        return ""
    if name in label_losses() and isinstance(given := method.get("args"), Mapping):
        usual = shipped_values("method", name)["args"].items()
        name = with_args(name, {k: v for k, v in given.items() if (k, v) not in usual})
    if isinstance(mix := method.get("mix"), Mapping):
        kind, usual_mix = mix.get("kind", "mixup"), shipped_values("method", "mixup")["mix"]
        unusual = {k: v for k, v in mix.items() if k != "kind" and v != usual_mix.get(k)}
        name = name.replace("mixup", f"{kind}") if "mixup" in name else f"{name}+{kind}"
        name = with_args(name, unusual)
    if method.get("factory") is not None:
        name += f"+{part_name({**method, 'name': None})}"
    for key, usual in (("divergence", "kl"), ("hint", "none")):
        section = raw.get(key)
        if isinstance(section, Mapping) and section.get("name") != usual:
            name += f"+{part_name(section, key)}"
    for key in ("optimizer", "schedule") if args else ():
        section = raw.get(key)
        if isinstance(section, Mapping) and section.get("factory") is not None:
            name += f"+{part_name(section)}"
    return name
