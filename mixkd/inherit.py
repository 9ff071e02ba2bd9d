"""What a configuration takes from finished runs and exports: networks with weights, and data."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mixkd.console import say
from mixkd.errors import Problem, UserError, shortened, shown
from mixkd.export.hub import fetched
from mixkd.files import file_fingerprint
from mixkd.reading import Damaged, read_mapping, refuse_link_out
from mixkd.shipped import group_names, shipped_values
from mixkd.words import word

# The sections of a configuration that describe a network.
NETWORKS = ("network", "teacher", "student")

# A run directory is data: calling what it names must not do more than build a network. Whole
# packages would be too much: torch alone has functions that run any command.
SAFE_FACTORY = re.compile(
    r"mixkd\.networks\.mobilenetv2|mixkd\.cifar_resnet\.cifar_resnet"
    r"|torch\.nn\.[A-Z]\w*|torchvision\.models\.[a-z]\w*"
)


def fill_from_runs(raw: dict[str, Any]) -> Iterator[Problem]:
    """Take what given runs already say: networks with their weights, and for evaluate the data."""
    if isinstance(raw.get("network"), dict):
        yield from fill_network(raw, "network", raw["network"])
    data = raw["data"]
    if data.get("source") != "run":  # a corrupted set without a run to follow, or with a small one
        for key in ("size", "resize"):
            data[key] = None if data.get(key) == "run" else data.get(key)
        if data.get("source") == "imagenet_c" and data["size"] is None:
            data["size"] = 224
    yield from _find_teacher(raw)
    others = {name: raw.get(name) for name in ("teacher", "student")} | dict(_baselines(raw))
    for section, network in others.items():
        if isinstance(network, dict):
            yield from fill_network(raw, section, network)


def fill_network(raw: dict[str, Any], section: str, network: dict[str, Any]) -> Iterator[Problem]:
    """Fill the section of a network from its run or export, if it names one.

    Args:
        raw: the configuration: `task`, `data` and `trust` are looked at.
        section: the network's name, for messages.
        network: its section, which is filled.
    """
    kind = "run" if network.get("run") is not None else "export"
    if not isinstance(network.get(kind), str):
        return
    given = f"{section}.{kind}"
    try:
        path = Path(network["run"]) if kind == "run" else fetched(network["export"], given)
    except UserError as error:
        yield from error.problems
        return
    path /= SAVED[kind]
    if kind == "run" and not os.path.isfile(path):
        return  # the schema says so
    saved = _saved_config(path)
    if isinstance(saved, str):
        yield Problem(given, f"{path} {saved}")
        return
    weights = path.with_name(WEIGHTS[kind])
    if fault := _link_out(weights):
        yield Problem(given, fault)
        return
    if not weights.is_file():
        lacks = "has not finished: it holds no weights"
        lacks = lacks if kind == "run" else f"holds no {weights.name}; export format=safetensors"
        yield Problem(given, f"{path.parent} {lacks}")
        return
    if kind == "export" and saved.get("weights") not in (None, file_fingerprint(weights)):
        yield Problem(given, f"{path} is of other weights than {weights.name} beside it")
        return
    if network.get("weights") is not None:
        yield Problem(f"{section}.weights", f"{A[kind]} brings its own weights; give one of them")
    if kind == "run" and network.get("export") is not None:
        yield Problem(f"{section}.export", f"got one beside {given}; give one of them")
    factory = network.get("factory") or saved["network"].get("factory")
    if factory != network.get("factory") and not is_trusted(factory, raw.get("trust")):
        package = shortened(str(factory).partition(".")[0])
        yield Problem(
            given,
            f"that {kind} names the callable {shortened(str(factory))}; mixkd calls it only if "
            f"you trust its package: trust=[{package}]",
        )
    for key in ("name", "factory", "head"):
        if network.get(key) is not None and network[key] != saved["network"].get(key):
            yield Problem(
                f"{section}.{key}",
                f"got {shown(network[key])} beside {A[kind]} of "
                f"{shown(saved['network'].get(key))}; leave it out",
            )
    for key, value in _without_file(saved["network"]).items():
        if network.get(key) is None and key not in ("run", "export"):
            network[key] = value
    network["weights"] = str(weights)
    if raw["task"] in ("evaluate", "export") and section == "network":
        # For keys that an older run did not have, and the places that an export does not have.
        source = str(saved["data"].get("source"))
        usual = shipped_values("data", source if source in group_names("data") else "digits")
        for key, value in raw["data"].items():
            if value == "run" and saved["data"]:
                raw["data"][key] = saved["data"].get(key, usual.get(key))
    distilled = section == "teacher" and raw["task"] == "distill"
    if distilled and _saw_held_out(saved["data"], raw["data"]):
        own = ", ".join(f"data.{key}={saved['data'].get(key)}" for key in SPLIT)
        yield Problem(
            given,
            f"{network[kind]} may have trained on the images that select here: its {own}; "
            "take the same",
        )


def _baselines(raw: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Turn `baselines: {NAME: DIR}` into networks, in place; yield them as sections."""
    baselines = raw.get("baselines")
    if not isinstance(baselines, dict):
        return
    for name, run in baselines.items():
        if isinstance(run, str):
            baselines[name] = shipped_values("network", "_none") | {"run": run}
            yield f"baselines.{name}", baselines[name]


def _link_out(path: Path) -> str:
    """Return what is wrong with a file that is a link out of its folder, or nothing."""
    try:
        refuse_link_out(path)
    except FileNotFoundError:
        return ""
    except Damaged as error:
        return str(error)
    return ""


def is_trusted(factory: Any, trust: Any) -> bool:
    """Return whether a callable that a stranger's file names may be called: safe, or trusted.

    Args:
        factory: its dotted name.
        trust: the packages that the user trusts.
    """
    packages = trust if isinstance(trust, list) else []
    known = SAFE_FACTORY.fullmatch(str(factory)) is not None
    return known or str(factory).partition(".")[0] in packages


# What says how the network of a run, or of an export, is built; and its weights.
SAVED = {"run": "config.yaml", "export": "config.json"}
WEIGHTS = {"run": "weights.safetensors", "export": "model.safetensors"}
A = {"run": "a run", "export": "an export"}


def _saved_config(path: Path) -> dict[str, Any] | str:
    """Return {network, data} of a run's config.yaml or an export's config.json, or its fault."""
    if path.name == SAVED["export"]:
        return _exported_config(path)
    try:
        saved = read_mapping(path)
        if saved["task"] == "evaluate":
            return "is of an evaluation, which trains nothing; takes a finetune or distill run"
        learner = {"finetune": "network", "distill": "student"}[saved["task"]]
        network, data = dict(saved[learner]), dict(saved["data"])
    except Damaged as error:
        return f"is no run's configuration: {error.why}"
    except (OSError, KeyError, TypeError, ValueError):
        return "is no run's configuration"
    if strange := network.keys() - shipped_values("network", "_none").keys():
        other = min(map(str, strange))
        return f"is of another version of mixkd, where there is a {learner}.{other}"
    return {"network": network, "data": data}


def _exported_config(path: Path) -> dict[str, Any] | str:
    """Return {network, data} of an export, or of any timm model in timm's form of the Hub."""
    try:
        saved = read_mapping(path)
        if "mixkd" in saved:
            own = saved["mixkd"]
            kept = {"network": dict(own["network"]), "data": dict(own["data"])}
            return kept | {"weights": str(own["weights"])}
        look = saved.get("pretrained_cfg", saved)
        network = {"name": str(saved["architecture"]), "args": saved.get("model_args")}
        label_names(saved)
        network |= {key: list(look[key]) for key in ("mean", "std")}
        return {"network": network | {"input_size": look["input_size"][-1]}, "data": {}}
    except Damaged as error:
        return f"is of no network that timm or mixkd knows: {error.why}"
    except (OSError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        return "is of no network that timm or mixkd knows"


def label_names(saved: Mapping[str, Any]) -> list[str]:
    """Return the class names that a config.json of timm's form holds, or their numbers.

    Raises:
        ValueError, TypeError: if it holds neither.
    """
    if names := told_names(saved):
        return names
    look = saved.get("pretrained_cfg", saved)
    count = int(saved.get("num_classes") or look.get("num_classes"))
    if count > MOST_CLASSES:
        raise ValueError(f"num_classes is {count}")
    return [str(k) for k in range(count)]


def told_names(saved: Mapping[str, Any]) -> list[str]:
    """Return the class names that a config.json of timm's form holds; [] where it holds none.

    Raises:
        TypeError: if they are no list.
    """
    names = saved.get("label_names") or saved.get("pretrained_cfg", saved).get("label_names") or []
    if not isinstance(names, list):
        raise TypeError("label_names is no list")
    return [str(name) for name in names]


MOST_CLASSES = 2**20

# What decides which training images are held out, and of which data set.
SPLIT = ("holdout", "split_seed", "selection")
SAME_DATA = ("source", "name", "size", *SPLIT)
SAME_NETWORK = ("name", "factory", "args", "head", "pretrained", "mean", "std", "input_size")


def _find_teacher(raw: dict[str, Any]) -> Iterator[Problem]:
    """Let `teacher=NAME` mean the finished finetune run of NAME on these data."""
    teacher, data = raw.get("teacher"), raw["data"]
    if not isinstance(teacher, dict) or not isinstance(teacher.get("name"), str):
        return  # none, or one that the schema refuses
    if not teacher["name"]:
        return
    if teacher.get("run") is not None or teacher.get("weights") is not None:
        return
    root = Path(str(raw["run"]["root"]))
    found = [run for run in sorted(root.glob("*/finetune/*")) if _fits(run, raw)]
    if len(found) == 1:
        teacher["run"] = str(found[0])
    elif found:
        runs = ", ".join(map(str, found))
        yield Problem("teacher", f"{len(found)} finished runs fit; take teacher.run=DIR: {runs}")
    else:
        words = _finetune_words(raw)
        command = shlex.join(["mixkd", "finetune", *words])
        preset = raw.get("protocol", "none")
        preset = "" if preset == "none" else f" under protocol={preset}"
        yield Problem(
            "teacher",
            f"no finished run of {teacher['name']} on {data.get('name')}{preset} in {root}/; make "
            f"it with `{command}` (teacher.auto=true does), or take teacher.run=DIR or "
            "teacher.weights=FILE",
            tuple(words),
        )


def _fits(run: Path, raw: dict[str, Any]) -> bool:
    teacher, data = raw["teacher"], raw["data"]
    try:
        saved = read_mapping(run / "config.yaml")
        if read_mapping(run / "status.json")["state"] != "finished":
            return False
        own, asked = _without_file(saved["network"]), _without_file(teacher)
        if teacher.get("pretrained") is None:  # either will do
            asked["pretrained"] = own["pretrained"]
        same = all(own.get(key) == asked.get(key) for key in SAME_NETWORK)
        same = same and all(saved["data"].get(key) == data.get(key) for key in SAME_DATA)
        if raw["task"] == "distill":
            same = same and saved.get("protocol", "none") == raw["protocol"]
        same = same and saved["method"]["name"] == "erm" and _same_source(saved["data"], data)
        same = same and saved["data"]["limit_train"] in (None, data.get("limit_train"))
    except Damaged as error:
        _tell_once(f"passed over: {error}")
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # half-written, or no run at all
    return same


@cache
def _tell_once(text: str) -> None:
    say(text)


def _without_file(network: dict[str, Any]) -> dict[str, Any]:
    """Return a network without the file of its pretrained weights, which may be gone."""
    return network | {"pretrained": bool(network.get("pretrained")) or None}


def _same_source(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one.get("source") != other.get("source"):
        return False
    # An export does not say where its data were: they may be these.
    roots = {Path(str(data["root"])).resolve() for data in (one, other) if "root" in data}
    return one.get("source") not in ("imagefolder", "imagenet") or len(roots) == 1


def may_have_trained_on(network: Mapping[str, Any], data: Mapping[str, Any]) -> bool | None:
    """Return whether a network may have trained on held-out images: what its run or export says.

    None: nothing says so, as of a file of weights.

    Args:
        network: its section, filled.
        data: what the images are held out from.
    """
    kind = next((kind for kind in SAVED if network.get(kind) is not None), None)
    if kind is None:
        return False if network.get("weights") is None else None
    saved = _saved_config(Path(network["weights"]).with_name(SAVED[kind]))
    if not isinstance(saved, dict) or not saved["data"]:
        return None
    return _saw_held_out(saved["data"], dict(data))


def _saw_held_out(teacher: dict[str, Any], student: dict[str, Any]) -> bool:
    """Return whether a teacher may have trained on what is held out from its student."""
    same = all(teacher.get(key) == student.get(key) for key in SPLIT)
    return _same_source(teacher, student) and not same and student.get("selection") != "test"


def _finetune_words(raw: dict[str, Any]) -> list[str]:
    """Return the overrides of the finetune run that `teacher=NAME` asks for."""
    teacher, data, run = raw["teacher"], raw["data"], raw["run"]
    source, name, preset = str(data.get("source")), teacher["name"], raw.get("protocol", "none")
    words = [f"data={source}"]
    usual = shipped_values("data", source) if source in group_names("data") else {}
    usual |= shipped_values("protocol/finetune", preset).get("data", {})
    for key in usual.keys() - {"cache_dir"}:
        if data.get(key) != usual[key]:
            words.append(f"data.{key}={word(data[key])}")
    words[1:] = sorted(words[1:])
    if preset != "none":
        words.insert(0, f"protocol={preset}")
    files = {shipped_values("network", stem).get("name"): stem for stem in group_names("network")}
    choice = files.get(name, "timm")
    words += [f"network={choice}"] + ([f"network.name={name}"] if choice == "timm" else [])
    usual = shipped_values("network", choice)
    words += [
        f"network.{key}={word(teacher[key])}"
        for key in SAME_NETWORK
        if key not in ("name", "args") and teacher.get(key) != usual.get(key)
    ]
    if isinstance(teacher.get("args"), dict) and teacher["args"] != usual.get("args"):
        words += [f"network.args.{k}={word(v)}" for k, v in teacher["args"].items()]
    if run["root"] != "runs":
        words.append(f"run.root={word(run['root'])}")
    return words
