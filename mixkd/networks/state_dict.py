"""Weights within what a file holds: found by the names and shapes of the network they are for."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mixkd.console import in_one_line, say
from mixkd.errors import UserError, shortened

# BatchNorm's counters of batches, which old checkpoints lack; with a momentum they are not used.
COUNTER = "num_batches_tracked"

# How deep a file's mappings are looked into: {"state_dict": {...}} is two.
DEPTH = 4

# How many prefixes of the names in one mapping are tried: student, teacher, their averages ...
PREFIXES = 8

# What wrappers put before every name. Of another prefix at least half of the names have to have it:
# the last layer of a large network is no network.
WRAPPERS = {
    "module", "_orig_mod", "state_dict", "network", "model", "core", "net", "student", "teacher",
    "backbone", "encoder", "classifier", "ema", "ema_model", "model_ema", "average",
}  # fmt: skip

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Candidate:
    """Tensors of a file that may be a network's weights.

    Args:
        path: the names of the mappings that they are in, from the outermost.
        prefix: what stood before their names.
        tensors: by their names without it.
        beside: other tensors in the same mapping, by their full names.
        shared: how many of the names are the network's.
    """

    path: tuple[str, ...]
    prefix: str
    tensors: dict[str, Tensor]
    beside: dict[str, Tensor]
    shared: int

    @property
    def place(self) -> str:
        """Where they are in the file, as state_dict/student.* is."""
        parts = [*self.path, *([f"{self.prefix}*"] if self.prefix else [])]
        return "/".join(map(brief, parts)) or "what has no prefix"

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """What is taken first of several that fit: an average, as timm does; a teacher's last."""
        words = set(re.split(r"[._/]", self.place.lower()))
        return not words & {"ema", "swa", "average", "averaged"}, "teacher" in words, len(self.path)


def candidates(held: Any, names: Collection[str]) -> Iterator[Candidate]:
    """Yield what of a file may be the weights of a network, the outermost first.

    Args:
        held: what the file holds: mappings within mappings, which may hold themselves.
        names: of the network's tensors.
    """
    # No more of a name is looked at than the network's have parts: some have a million.
    parts = 1 + max((name.count(".") for name in names), default=0)
    level: list[tuple[tuple[str, ...], Any]] = [((), held)] if isinstance(held, dict) else []
    seen: set[int] = set()
    for _ in range(DEPTH):
        below: list[tuple[tuple[str, ...], Any]] = []
        for path, mapping in level:
            if id(mapping) in seen:
                continue
            seen.add(id(mapping))
            named = [(name, value) for name, value in mapping.items() if isinstance(name, str)]
            below += [((*path, n), value) for n, value in named if isinstance(value, dict)]
            if tensors := {n: value for n, value in named if isinstance(value, Tensor)}:
                yield from _by_prefix(path, tensors, names, parts)
        level = below


def _by_prefix(
    path: tuple[str, ...], tensors: dict[str, Tensor], names: Collection[str], parts: int
) -> Iterator[Candidate]:
    """Yield a mapping's tensors without what stands before most of a network's names."""
    shared: Counter[str] = Counter()
    for name in tensors:
        pieces = name.rsplit(".", parts)[-parts:]
        for k in range(len(pieces)):
            end = ".".join(pieces[k:])
            if end in names:
                shared[name[: len(name) - len(end)]] += 1
    most = max(shared.values(), default=0)
    prefixes = [prefix for prefix, count in shared.items() if count == most] or [""]
    # What has few of the names does not fit; it is of use in a message alone.
    for prefix in prefixes[: PREFIXES if 2 * most > len(names) else 1]:
        inside = {n[len(prefix) :]: v for n, v in tensors.items() if n.startswith(prefix)}
        if not set(prefix.split(".")[:-1]) <= WRAPPERS and 2 * len(inside) < len(tensors):
            prefix, inside = "", tensors
        beside = {n: v for n, v in tensors.items() if not n.startswith(prefix)}
        if not prefix:  # numbers that stand beside the weights, as best_acc does
            lone = {n: v for n, v in inside.items() if "." not in n and n not in names}
            beside = {n: v for n, v in lone.items() if fault(v) is None and v.dim() == 0}
            inside = {n: v for n, v in inside.items() if n not in beside}
        yield Candidate(path, prefix, inside, beside, shared[prefix])


def find(
    held: Any, own: Mapping[str, Tensor], path: Path, key: str, spare: tuple[str, ...] = ()
) -> Candidate:
    """Return what of a file fits a network, or what comes nearest where nothing does.

    A line says what was taken where there was a choice, and what of the same mapping was not.

    Args:
        held: what the file holds.
        own: the network's tensors, by name.
        path: the file.
        key: the configuration key that named it, for messages.
        spare: the beginnings of names that do not matter, such as `head.`

    Raises:
        UserError: if the file holds no tensors with names.
    """
    found = list(candidates(held, own))
    if not found:
        raise UserError.of(key, f"{path} holds no state dict")
    fitting = sorted((c for c in found if fits(c, own, spare)), key=lambda c: c.rank)
    if not fitting:
        return max(found, key=lambda c: (not any(differences(own, c.tensors, spare)),
                                         c.shared, len(c.tensors)))  # fmt: skip
    taken, *others = fitting
    more = []
    if others:
        places = [other.place for other in others]
        more.append(f"{some(places)} {'fits' if len(places) == 1 else 'fit'} too")
    elsewhere = tuple(other.prefix for other in others if other.path == taken.path)
    if beside := [n for n in taken.beside if not n.startswith(elsewhere)]:
        more.append(f"{some(beside)} beside it not")
    if more:
        say(f"{key}: taken from {path}: {taken.place}; {'; '.join(more)}")
    return taken


def unwrapped(candidate: Candidate) -> dict[str, Tensor]:
    """Return the tensors of a candidate; or where few of the names fit, all that stand with them.

    Of those, too, what wrappers put before every name is taken off.
    """
    if 2 * candidate.shared > len(candidate.tensors) + len(candidate.beside):
        return candidate.tensors
    prefixed = {candidate.prefix + name: value for name, value in candidate.tensors.items()}
    found = prefixed | candidate.beside
    while (first := next(iter(found)).partition(".")[0]) in WRAPPERS:
        if not all(name.startswith(f"{first}.") for name in found):
            break
        found = {name.removeprefix(f"{first}."): value for name, value in found.items()}
    return found


def fits(candidate: Candidate, own: Mapping[str, Tensor], spare: tuple[str, ...] = ()) -> bool:
    """Return whether tensors have a network's names and shapes.

    Args:
        candidate: the tensors.
        own: the network's, by name.
        spare: the beginnings of names that do not matter, such as `head.`
    """
    found = candidate.tensors
    missing, unknown = differences(own, found, spare)
    return not missing and not unknown and not _misshapen(own, found, spare)


def differences(
    own: Mapping[str, Tensor], found: Mapping[str, Tensor], spare: tuple[str, ...] = ()
) -> tuple[list[str], list[str]]:
    """Return the names that weights lack of a network's, and those that they have beyond them."""
    missing = sorted(n for n in own.keys() - found.keys() if not n.startswith(spare))
    unknown = sorted(n for n in found.keys() - own.keys() if not n.startswith(spare))
    return [n for n in missing if n.rpartition(".")[2] != COUNTER], unknown


def _misshapen(
    own: Mapping[str, Tensor], found: Mapping[str, Tensor], spare: tuple[str, ...] = ()
) -> list[str]:
    both = [n for n in own if n in found and not n.startswith(spare)]
    # What is no plain tensor may have no shape; it is refused for that.
    return [n for n in both if fault(found[n]) is None and found[n].shape != own[n].shape]


def fault(value: Tensor) -> str | None:
    """Return what a tensor is where it is none of dense numbers in memory; None if it is one."""
    if type(value) not in (Tensor, nn.Parameter):
        return type(value).__name__
    if value.is_nested:
        return "nested"
    if value.layout != torch.strided:
        return str(value.layout)
    if value.device.type != "cpu":
        return f"{value.device.type}, without values"
    return str(value.dtype) if value.is_quantized else None


def checked(
    own: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path, key: str
) -> dict[str, Tensor]:
    """Return weights in the network's own dtypes, with its own counters where they lack them.

    Args:
        own: the network's tensors, by name.
        found: the weights.
        path: the file that they are from.
        key: the configuration key that named it, for messages.

    Raises:
        UserError: if names, shapes or kinds of numbers differ; it says which.
    """
    missing, unknown = differences(own, found)
    if missing or unknown:
        raise UserError.of(
            key,
            f"{path} is of another network: it lacks {some(missing)} and adds {some(unknown)}",
        )
    for name, value in found.items():
        check_kind(name, value, own[name], path, key)
    if shapes := _misshapen(own, found):
        name = shapes[-1]
        theirs, ours = tuple(found[name].shape), tuple(own[name].shape)
        text = f"{path} is of another shape: {name} is {theirs}, here {ours}"
        if theirs and ours and theirs[1:] == ours[1:] and len(shapes) <= 2:
            text = f"{path} was trained on {theirs[0]} classes; the data has {ours[0]}"
        raise UserError.of(key, text)
    # Detached by torch's own function: a pickle can give a tensor attributes that hide its methods.
    return {
        name: torch.Tensor.detach(found[name]).to(value.dtype) if name in found else value
        for name, value in own.items()
    }


def check_kind(name: str, value: Tensor, own: Tensor, path: Path, key: str) -> None:
    """Refuse a tensor that is not of dense numbers of the network's kind.

    Raises:
        UserError: naming `key`.
    """
    wrong, takes = fault(value), "dense numbers"
    if wrong is None and own.is_floating_point():
        takes = "float32, float64, float16 or bfloat16"
        wrong = None if value.dtype in FLOATS else f"{value.dtype}"
    elif wrong is None and not own.is_complex():
        takes = "whole numbers"
        # Averages of checkpoints have averages of counters, too.
        whole = not value.is_floating_point() or name.rpartition(".")[2] == COUNTER
        wrong = f"{value.dtype}" if value.is_complex() or not whole else None
    if wrong is not None:
        wrong = wrong.removeprefix("torch.")
        raise UserError.of(key, f"{path} holds {brief(name)} as {wrong}; takes {takes}")


def brief(name: str) -> str:
    """Return a name of a file as it may be shown: short, in one line."""
    return shortened(in_one_line(name), 80)


def some(names: Sequence[str], most: int = 3) -> str:
    """Return the first of names, and how many more there are."""
    shown = ", ".join(map(brief, names[:most])) or "nothing"
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
