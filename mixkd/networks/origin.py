"""What a configuration takes from finished runs and exports: networks with weights, and data."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mixkd.config.data import DataConfig
from mixkd.config.fields import ARCHITECTURE, DATASET, SPLIT, START, keys
from mixkd.config.network import NetworkConfig
from mixkd.config.overrides import word
from mixkd.config.shipped import group_names, shipped_values
from mixkd.console import say
from mixkd.data.contents import IMAGES, SPLITS, split_contents, to_unpack
from mixkd.data.corruption_names import FOLDERS
from mixkd.errors import Problem, UserError, shortened, shown
from mixkd.files.reading import Damaged, read_mapping, refuse_link_out
from mixkd.files.writing import file_fingerprint
from mixkd.networks.hub import fetched
from mixkd.networks.moved import with_moved

# The sections of a configuration that describe a network.
NETWORKS = ("network", "teacher", "student")

# A run directory is data: calling what it names must not do more than build a network. Whole
# packages would be too much: torch alone has functions that run any command.
SAFE_FACTORY = re.compile(
    r"mixkd\.networks\.mobilenetv2|mixkd\.networks\.cifar\.\w+\.\w+"
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
    if raw["task"] in ("evaluate", "export") and section == "network" and saved["data"]:
        yield from _inherit_data(raw, saved, path.parent)
    # Of a folder, the images tell, when they have been read.
    by_settings = str(raw["data"].get("source")) not in SPLITS
    distilled = section == "teacher" and raw["task"] == "distill"
    if distilled and by_settings and (differs := other_split(saved["data"], raw["data"])):
        yield Problem(
            given,
            f"{network[kind]} may have trained on the images that select here: its {differs}; "
            "take the same",
        )


def _inherit_data(raw: dict[str, Any], saved: dict[str, Any], of: Path) -> Iterator[Problem]:
    """Fill what a configuration takes from the data of a run or an export.

    They may be a stranger's: they say which images a network was trained on and how it saw them,
    and where images may be read; never where to write, or that anything is to be fetched.

    Args:
        raw: the configuration.
        saved: what the run or export says.
        of: its directory, for messages.
    """
    data = raw["data"]
    is_same, root_is_theirs = data.get("source") == "run", data.get("root") == "run"
    source = str(saved["data"].get("source"))
    if source in (*FOLDERS, "imagenet_c"):
        yield Problem("data", f"{of} says {source}, which no network is trained on; take data=NAME")
        return
    # For keys that an older run did not have, and the places that an export does not have.
    usual = shipped_values("data", source if source in group_names("data") else "digits")
    for key, value in data.items():
        if value == "run":
            data[key] = saved["data"].get(key, usual.get(key))
    root = data.get("root")
    if root_is_theirs and data.get("download") is True and usual.get("download") is True:
        data["root"] = root = usual["root"]  # what is fetched goes to the usual place
    elif (
        root_is_theirs
        and isinstance(root, str)
        and not os.path.isabs(root)
        and (root != "datasets" or source in SPLITS)
    ):
        text = f"{of} says {shown(root)}, which is of an unknown folder; say where they are"
        yield Problem("data.root", f"{text}, data.root=DIR")
        return
    if not is_same or source not in SPLITS or not isinstance(root, str) or not os.path.isdir(root):
        return
    if root_is_theirs and source == "imagenet" and (archives := to_unpack(Path(root))):
        text = f"{of} says {shown(root)}, where {' and '.join(archives)} would be unpacked"
        yield Problem("data.root", f"{text}; data.root=DIR unpacks there")
    elif isinstance(data.get("cache_dir"), str):
        # An export looks at test images alone.
        reported = "test" if "test" in saved["images"] else "val"
        splits = SPLITS[source] if raw["task"] == "evaluate" else (reported,)
        problems = _other_images(data, saved["images"], of, splits)
        if "weights" in saved:  # an export has no root: the user has said where images are
            for problem in problems:
                say(str(problem))
        else:
            yield from problems


def _other_images(
    data: dict[str, Any], recorded: dict[str, str], of: Path, splits: Sequence[str]
) -> Iterator[Problem]:
    """Yield what is wrong where the images in a folder are not those of a run or an export."""
    source, root = data["source"], data["root"]
    if not recorded:
        say(f"{of} does not say which images it is of: those in {root} are taken to be the same")
        return
    here = split_contents(source, root, data["cache_dir"])
    places = [split for split in splits if here.get(split) != recorded.get(split)]
    if not places:
        return
    size = "" if data.get("size") is None else f" data.size={data['size']}"
    yield Problem(
        "data.root",
        f"got {shown(root)}, which holds other images in {', '.join(f'{p}/' for p in places)} than "
        f"{of} was made of; data={source} data.root=DIR{size} measures on others",
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
    """Return {network, data, images} of a run's config.yaml or an export's config.json.

    Images are the sha256 of each split's, where they are files. A text is what is wrong with it.
    """
    if path.name == SAVED["export"]:
        return _exported_config(path)
    try:
        saved = with_moved(read_mapping(path))
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
    try:
        return {"network": network, "data": data, "images": recorded_images(path.parent)}
    except Damaged as error:
        return f"has no sound record beside it: {error}"


def recorded_images(run: Path) -> dict[str, str]:
    """Return the sha256 of the images of each split, as a run has kept them; none where not.

    Raises:
        Damaged: if its record cannot be read.
    """
    try:
        prints = read_mapping(run / "provenance.json")["fingerprints"]
        return {key.removeprefix(IMAGES): str(prints[key]) for key in prints if IMAGES in key}
    except (FileNotFoundError, LookupError, TypeError):
        return {}


def _exported_config(path: Path) -> dict[str, Any] | str:
    """Return {network, data} of an export, or of any timm model in timm's form of the Hub."""
    try:
        saved = read_mapping(path)
        if "mixkd" in saved:
            record = with_moved(saved["mixkd"])
            sections = {key: dict(record[key]) for key in ("network", "data")}
            images = {str(key): str(value) for key, value in record.get("images", {}).items()}
            return sections | {"images": images, "weights": str(record["weights"])}
        preprocessing = saved.get("pretrained_cfg", saved)
        network = {"name": str(saved["architecture"]), "args": saved.get("model_args")}
        label_names(saved)
        network |= {key: list(preprocessing[key]) for key in ("mean", "std")}
        network |= {"input_size": preprocessing["input_size"][-1]}
        return {"network": network, "data": {}, "images": {}}
    except Damaged as error:
        return f"is of no network that timm or mixkd knows: {error.why}"
    except (OSError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        return "is of no network that timm or mixkd knows"


def label_names(saved: Mapping[str, Any]) -> list[str]:
    """Return the class names that a config.json of timm's form holds, or their numbers.

    Raises:
        ValueError, TypeError: if it holds neither.
    """
    if names := class_names(saved):
        return names
    preprocessing = saved.get("pretrained_cfg", saved)
    count = int(saved.get("num_classes") or preprocessing.get("num_classes"))
    if count > MOST_CLASSES:
        raise ValueError(f"num_classes is {count}")
    return [str(k) for k in range(count)]


def class_names(saved: Mapping[str, Any]) -> list[str]:
    """Return the class names that a config.json of timm's form holds; [] where it holds none.

    Raises:
        TypeError: if they are no list.
    """
    names = saved.get("label_names") or saved.get("pretrained_cfg", saved).get("label_names") or []
    if not isinstance(names, list):
        raise TypeError("label_names is no list")
    return [str(name) for name in names]


MOST_CLASSES = 2**20

HELD_OUT = keys(DataConfig, SPLIT)
SAME_DATA = keys(DataConfig, DATASET, SPLIT)
SAME_NETWORK = keys(NetworkConfig, ARCHITECTURE, START)


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
    named = [run for run in sorted(root.glob("*/finetune/*")) if _fits(run, raw)]
    found = named
    source, where = str(data["source"]), data.get("root")
    if named and source in SPLITS and isinstance(where, str):
        here = split_contents(source, where, str(data.get("cache_dir")))
        found = [run for run in named if _is_of(run, here)]
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
            f"no finished run of {teacher['name']} on {data.get('name')}{preset} in {root}/"
            + (f" ({named[-1]} was trained on other images than are there now)" if named else "")
            + f"; make it with `{command}` (teacher.auto=true does), or take teacher.run=DIR or "
            "teacher.weights=FILE",
            tuple(words),
        )


def _fits(run: Path, raw: dict[str, Any]) -> bool:
    teacher, data = raw["teacher"], raw["data"]
    try:
        saved = with_moved(read_mapping(run / "config.yaml"))
        if read_mapping(run / "status.json")["state"] != "finished":
            return False
        own, asked = _without_file(saved["network"]), _without_file(teacher)
        if teacher.get("pretrained") is None:  # either will do
            asked["pretrained"] = own["pretrained"]
        same = all(own.get(key) == asked.get(key) for key in SAME_NETWORK)
        same = same and all(saved["data"].get(key) == data.get(key) for key in SAME_DATA)
        if raw["task"] == "distill":
            same = same and saved.get("protocol", "none") == raw["protocol"]
        same = same and saved["method"]["name"] == "erm"
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


def _is_of(run: Path, images: dict[str, str]) -> bool:
    try:
        return same_images(recorded_images(run), images)
    except Damaged as error:
        _tell_once(f"passed over: {error}")
        return False


def _without_file(network: dict[str, Any]) -> dict[str, Any]:
    """Return a network without the file of its pretrained weights, which may be gone."""
    return network | {"pretrained": bool(network.get("pretrained")) or None}


def same_images(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Return whether two roots, by the sha256 of their splits, train and select by the same images.

    Where there is a test/, val/ selects; else it reports, and selection is held out of train/.
    """
    selecting = [images.get("val") if "test" in images else None for images in (one, other)]
    return one.get("train") == other.get("train") is not None and selecting[0] == selecting[1]


def other_split(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return how a section of data holds out other images than another does; "" if it does not.

    Of one source, that is. Where the test images select, none are held out.
    """
    same = all(one.get(key) == other.get(key) for key in HELD_OUT)
    if one.get("source") != other.get("source") or same or other.get("selection") == "test":
        return ""
    return ", ".join(f"data.{key}={one.get(key)}" for key in HELD_OUT)


def saved_of(network: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the data and the images of the run or export that a network is of; None where none is.

    Args:
        network: its section, filled.
    """
    kind = next((kind for kind in SAVED if network.get(kind) is not None), None)
    if kind is None or network.get("weights") is None:
        return None
    saved = _saved_config(Path(network["weights"]).with_name(SAVED[kind]))
    return saved if isinstance(saved, dict) and saved["data"] else None


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
