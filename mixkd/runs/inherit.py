"""What a configuration takes from finished runs and exports: networks with weights, and data."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mixkd.config.fields import value_of
from mixkd.config.shipped import group_names, shipped_values
from mixkd.config.sources import CORRUPTED, FILES, SIZES, SOURCES, SPLITS
from mixkd.console import say
from mixkd.data.contents import split_contents, to_unpack
from mixkd.errors import Problem, UserError, shortened, shown
from mixkd.files.reading import Damaged, refuse_link_out
from mixkd.files.writing import file_fingerprint
from mixkd.networks.origin import (
    SAVED,
    WEIGHTS,
    distrusted,
    fetched,
    is_trusted,
    other_split,
    saved_config,
    without_file,
)
from mixkd.runs.signature import is_signed
from mixkd.runs.teacher import find_teacher


def fill_from_runs(raw: dict[str, Any]) -> Iterator[Problem]:
    """Take what given runs already say: networks with their weights, and for evaluate the data."""
    if isinstance(raw.get("network"), dict):
        yield from fill_network(raw, "network", raw["network"])
    data = raw["data"]
    if data.get("source") != "run":  # a corrupted set without a run to follow, or with a small one
        for key in ("size", "resize"):
            data[key] = None if data.get(key) == "run" else data.get(key)
        if (source := data.get("source")) in CORRUPTED and source in FILES and data["size"] is None:
            data["size"] = SIZES[SOURCES[source].corrupts].side
    yield from find_teacher(raw)
    networks = {name: raw.get(name) for name in ("teacher", "student")}
    if isinstance(baselines := raw.get("baselines"), dict):
        for name, run in baselines.items():  # of each a network, in its place
            if isinstance(run, str):
                baselines[name] = shipped_values("network", "_none") | {"run": run}
                networks[f"baselines.{name}"] = baselines[name]
    for section, network in networks.items():
        if isinstance(network, dict):
            yield from fill_network(raw, section, network)


def fill_network(raw: dict[str, Any], section: str, network: dict[str, Any]) -> Iterator[Problem]:
    """Fill the section of a network from its run or export, if it names one."""
    kind, origin = ("run", "a run") if network.get("run") is not None else ("export", "an export")
    if not isinstance(network.get(kind), str):
        return
    key_of_origin = f"{section}.{kind}"
    if kind == "run" and not os.path.isfile(Path(network["run"]) / SAVED["run"]):
        return  # the schema says so
    try:
        weights, saved = _weights_and_config(network[kind], kind, key_of_origin)
    except UserError as error:
        yield from error.problems
        return
    if network.get("weights") is not None:
        yield Problem(f"{section}.weights", f"{origin} brings its own weights; give one of them")
    if kind == "run" and network.get("export") is not None:
        yield Problem(f"{section}.export", f"got one beside {key_of_origin}; give one of them")
    named = {key: saved["network"].get(key) for key in ("factory", "args") if not network.get(key)}
    inherits = raw["task"] in ("evaluate", "export") and section == "network"
    called = named | ({"data": _called(raw["data"], saved["data"])} if inherits else {})
    trust = raw.get("trust")
    if kind != "run" or not is_signed(weights.parent):
        for callable_path in dict.fromkeys(distrusted(called, trust)):
            package = shortened(callable_path.partition(".")[0])
            text = f"that {kind} names the callable {shortened(callable_path)}"
            text += f"; mixkd calls it only if you trust its package: trust=[{package}]"
            yield Problem(key_of_origin, text)
        dataset = value_of(called, "data.dataset")
        if dataset is not None and not is_trusted(str(dataset), trust):
            library = str(dataset).partition("/")[0]
            text = f"that {kind} names the data set {shortened(str(dataset))}, which {library} may "
            text += f"fetch and run; take data=timm data.dataset=NAME, or trust=[{library}]"
            yield Problem(key_of_origin, text)
    for key in ("name", "factory", "head"):
        value, saved_value = network.get(key), saved["network"].get(key)
        if value is not None and value != saved_value:
            text = f"got {shown(value)} beside {origin} of {shown(saved_value)}; leave it out"
            yield Problem(f"{section}.{key}", text)
    for key, value in without_file(saved["network"]).items():
        if network.get(key) is None and key not in ("run", "export"):
            network[key] = value
    network["weights"] = str(weights)
    if inherits and saved["data"]:
        yield from _inherit_data(raw, saved, weights.parent)
    # Of a folder, the images tell, when they have been read.
    by_settings = str(raw["data"].get("source")) not in SPLITS
    distilled = section == "teacher" and raw["task"] == "distill"
    if distilled and by_settings and (differs := other_split(saved["data"], raw["data"])):
        text = f"may have trained on the images that select here: its {differs}; take the same"
        yield Problem(key_of_origin, f"{network[kind]} {text}")


def _called(data: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    """Return what the saved data of a run or an export name that would be called or fetched."""
    names = ("factory", "args", "dataset")
    return {key: saved.get(key) for key in names if data.get(key) == "run"}


def _weights_and_config(origin: str, kind: str, key: str) -> tuple[Path, dict[str, Any]]:
    """Return where the weights of a run or an export are, and what it says of them."""
    folder = Path(origin) if kind == "run" else fetched(origin, key)
    path, weights = folder / SAVED[kind], folder / WEIGHTS[kind]
    try:
        saved = saved_config(path)
    except ValueError as error:
        raise UserError.of(key, f"{path} {error}") from error
    try:
        refuse_link_out(weights)
    except Damaged as error:
        raise UserError.of(key, str(error)) from error
    except FileNotFoundError:
        pass
    if not weights.is_file():
        lacks = "has not finished: it holds no weights"
        lacks = lacks if kind == "run" else f"holds no {weights.name}; export format=safetensors"
        raise UserError.of(key, f"{path.parent} {lacks}")
    if kind == "export" and saved.get("weights") not in (None, file_fingerprint(weights)):
        raise UserError.of(key, f"{path} is of other weights than {weights.name} beside it")
    return weights, saved


def _inherit_data(raw: dict[str, Any], saved: dict[str, Any], of: Path) -> Iterator[Problem]:
    """Fill what a configuration takes from the data of a run or an export.

    They may be a stranger's: they say which images a network was trained on and how it saw them,
    and where images may be read; never where to write, or that anything is to be fetched.
    """
    data = raw["data"]
    is_same, root_is_theirs = data.get("source") == "run", data.get("root") == "run"
    source = str(saved["data"].get("source"))
    if source in CORRUPTED:
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
        and root != usual.get("root")
    ):
        text = f"{of} says {shown(root)}, which is of an unknown folder; say where they are"
        yield Problem("data.root", f"{text}, data.root=DIR")
        return
    if not is_same or source not in SPLITS or not isinstance(root, str) or not os.path.isdir(root):
        return
    if root_is_theirs and (archives := to_unpack(source, root)):
        text = f"{of} says {shown(root)}, where {' and '.join(archives)} would be unpacked"
        yield Problem("data.root", f"{text}; data.root=DIR unpacks there")
    elif isinstance(data.get("cache_dir"), str):
        # An export looks at test images alone.
        reported = "test" if "test" in saved["images"] else "val"
        splits = SPLITS[source] if raw["task"] == "evaluate" else (reported,)
        problem = _other_images(data, saved["images"], of, splits)
        if problem and "weights" in saved:  # an export has no root: the user says where
            say(str(problem))
        elif problem:
            yield problem


def _other_images(
    data: dict[str, Any], recorded: dict[str, str], of: Path, splits: Sequence[str]
) -> Problem | None:
    """Return what is wrong where the images in a folder are not those of a run or an export."""
    source, root = data["source"], data["root"]
    if not recorded:
        say(f"{of} does not say which images it is of: those in {root} are taken to be the same")
        return None
    fingerprints = split_contents(source, root, data["cache_dir"])
    places = [split for split in splits if fingerprints.get(split) != recorded.get(split)]
    if not places:
        return None
    size = "" if data.get("size") is None else f" data.size={data['size']}"
    text = f"got {shown(root)}, which holds other images in {', '.join(f'{p}/' for p in places)} "
    text += f"than {of} was made of; data={source} data.root=DIR{size} measures on others"
    return Problem("data.root", text)
