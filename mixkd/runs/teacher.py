"""`teacher=NAME`: the finished finetune run of NAME on these data, or the command that makes it."""

import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mixkd.config.data import DataConfig
from mixkd.config.fields import ARCHITECTURE, DATASET, SPLIT, START, keys
from mixkd.config.network import NetworkConfig
from mixkd.config.overrides import written
from mixkd.config.shipped import network_files, shipped_values
from mixkd.config.sources import SPLITS
from mixkd.console import say
from mixkd.data.contents import split_contents
from mixkd.errors import Problem
from mixkd.files.layout import CONFIG, STATUS
from mixkd.files.reading import Damaged, read_mapping
from mixkd.networks.origin import recorded_images, same_images, with_moved, without_file

SAME_DATA = keys(DataConfig, DATASET, SPLIT)
SAME_NETWORK = keys(NetworkConfig, ARCHITECTURE, START)


def find_teacher(raw: dict[str, Any]) -> Iterator[Problem]:
    """Let `teacher=NAME` mean the finished finetune run of NAME on these data."""
    teacher, data = raw.get("teacher"), raw["data"]
    if not isinstance(teacher, dict) or not isinstance(teacher.get("name"), str):
        return  # none, or one that the schema refuses
    if not teacher["name"] or any(teacher.get(key) is not None for key in ("run", "weights")):
        return
    root = Path(str(raw["run"]["root"]))
    same_settings = [run for run in sorted(root.glob("*/finetune/*")) if _fits(run, raw)]
    fitting, source = same_settings, str(data["source"])
    if same_settings and source in SPLITS and isinstance(data.get("root"), str):
        images = split_contents(source, data["root"], str(data.get("cache_dir")))
        fitting = [run for run in same_settings if _is_of(run, images)]
    if len(fitting) == 1:
        teacher["run"] = str(fitting[0])
    elif fitting:
        runs = ", ".join(map(str, fitting))
        yield Problem("teacher", f"{len(fitting)} finished runs fit; take teacher.run=DIR: {runs}")
    else:
        overrides = _finetune_overrides(raw)
        command = shlex.join(["mixkd", "finetune", *overrides])
        preset = raw.get("protocol", "none")
        preset = "" if preset == "none" else f" under protocol={preset}"
        text = f"no finished run of {teacher['name']} on {data.get('name')}{preset} in {root}/"
        if same_settings:
            text += f" ({same_settings[-1]} was trained on other images than are there now)"
        text += f"; make it with `{command}` (teacher.auto=true does)"
        text += ", or take teacher.run=DIR or teacher.weights=FILE"
        yield Problem("teacher", text, tuple(overrides))


def _fits(run: Path, raw: dict[str, Any]) -> bool:
    """Return whether a run directory is of the finished finetune run that is meant."""
    teacher, data = raw["teacher"], raw["data"]
    try:
        saved = with_moved(read_mapping(run / CONFIG))
        network, asked_for = without_file(saved["network"]), without_file(teacher)
        if teacher.get("pretrained") is None:  # either will do
            asked_for["pretrained"] = network["pretrained"]
        return (
            read_mapping(run / STATUS)["state"] == "finished"
            and all(network.get(key) == asked_for.get(key) for key in SAME_NETWORK)
            and all(saved["data"].get(key) == data.get(key) for key in SAME_DATA)
            and (raw["task"] != "distill" or saved.get("protocol", "none") == raw["protocol"])
            and saved["method"]["name"] == "erm"
            and saved["data"]["limit_train"] in (None, data.get("limit_train"))
        )
    except Damaged as error:
        _say_once(f"passed over: {error}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # half-written, or no run at all
    return False


def _is_of(run: Path, images: dict[str, str]) -> bool:
    try:
        return same_images(recorded_images(run), images)
    except Damaged as error:
        _say_once(f"passed over: {error}")
        return False


@cache
def _say_once(text: str) -> None:
    say(text)


def _finetune_overrides(raw: dict[str, Any]) -> list[str]:
    """Return the overrides of the finetune run that `teacher=NAME` asks for."""
    teacher, data, run = raw["teacher"], raw["data"], raw["run"]
    source, name, preset = str(data.get("source")), teacher["name"], raw.get("protocol", "none")
    overrides = [] if source == "own" else [f"data={source}"]  # its factory chooses that
    usual = shipped_values("data", "_own" if source == "own" else source)
    usual |= shipped_values("protocol/finetune", preset).get("data", {})
    for key in usual.keys() - {"cache_dir"}:
        if data.get(key) != usual[key]:
            overrides.append(f"data.{key}={written(data[key])}")
    overrides.sort(key=lambda override: (not override.startswith("data="), override))
    if preset != "none":
        overrides.insert(0, f"protocol={preset}")
    choice = network_files().get(name, "timm")
    overrides += [f"network={choice}"] + ([f"network.name={name}"] if choice == "timm" else [])
    usual = shipped_values("network", choice)
    overrides += [
        f"network.{key}={written(teacher[key])}"
        for key in SAME_NETWORK
        if key not in ("name", "args") and teacher.get(key) != usual.get(key)
    ]
    if isinstance(teacher.get("args"), dict) and teacher["args"] != usual.get("args"):
        overrides += [f"network.args.{k}={written(v)}" for k, v in teacher["args"].items()]
    if run["root"] != "runs":
        overrides.append(f"run.root={written(run['root'])}")
    return overrides
