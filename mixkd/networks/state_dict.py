"""Weights within what a file holds: found by the names and shapes of the network they are for."""

import re
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

# How deep a file's mappings and lists are looked into: {"state_dict": {...}} is two.
DEPTH = 8

# How many prefixes of the names in one mapping are tried: student, teacher, their averages ...
PREFIXES = 8

# What wrappers put before every name. Of the rest of a mapping another prefix has to have a
# quarter: the last layer of a large network is no network.
WRAPPERS = {
    "module", "_orig_mod", "state_dict", "network", "model", "core", "net", "student", "teacher",
    "backbone", "encoder", "classifier", "ema", "ema_model", "model_ema", "average",
}  # fmt: skip

# What wrappers of single layers put within names, as DataParallel of a VGG's features does.
INNER = re.compile(r"(?<=\.)(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")

# What places in a file, and modules beside a network, are called, as in _state_dict_ema_.
NO_WEIGHTS = re.compile(
    "_(optims?|optimi[sz]ers?|exp_avg|momentum_buffer|velocity|grads?|gradients?|masks?)_"
)
AVERAGE = re.compile("_(ema|swa|avg|averaged?|polyak)_")
LAST = re.compile("_(teacher|t|init|initial)_")
LOSS = re.compile("_(criterion|loss)_")

# Statistics of images, and counts by profilers, that modules of another's hold.
STATISTICS = {"mean", "std", "new_mean", "new_std", "total_ops", "total_params"}

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Candidate:
    """Tensors of a file that may be a network's weights."""

    path: tuple[str, ...]  # the names of the mappings that they are in, from the outermost
    prefix: str  # taken off their names
    tensors: dict[str, Tensor]
    others: dict[str, Tensor]  # the rest of the same mapping's tensors, by their full names
    shared: int  # how many of the names are the network's

    @property
    def place(self) -> str:
        """Where they are in the file, as state_dict/student.* is."""
        parts = [*self.path, *([f"{self.prefix}*"] if self.prefix else [])]
        return "/".join(map(brief, parts)) or "what has no prefix"

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """What is taken first of several that fit: an average, as timm does; a teacher's last."""
        place = _snake_case(self.place)
        return not AVERAGE.search(place), bool(LAST.search(place)), len(self.path)


def _snake_case(name: str) -> str:
    """Return the terms of a name between underscores: modelEMA is _model_ema_."""
    terms = re.findall("[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+", name)
    return f"_{'_'.join(terms).lower()}_"


def candidates(content: Any, names: Collection[str]) -> Iterator[Candidate]:
    """Yield what of a file may be the weights of a network with these names, the outermost first.

    The content is mappings and lists within one another, which may hold themselves. What by its
    name is an optimizer's, gradients or masks is left out, whatever its names and shapes.
    """
    # No more of a name is looked at than the network's have parts: some have a million.
    depth = 1 + max((name.count(".") for name in names), default=0)
    level: list[tuple[tuple[str, ...], Any]] = [((), content)]
    seen: set[int] = set()
    for _ in range(DEPTH):
        below: list[tuple[tuple[str, ...], Any]] = []
        for path, value in level:
            if not isinstance(value, (dict, list, tuple)) or id(value) in seen:
                continue
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            named = [(name, item) for name, item in items if isinstance(name, (str, int))]
            below += [((*path, str(name)), item) for name, item in named]
            if tensors := {n: v for n, v in named if isinstance(n, str) and isinstance(v, Tensor)}:
                for candidate in _by_prefix(path, tensors, names, depth):
                    if not NO_WEIGHTS.search(_snake_case(candidate.place)):
                        yield candidate
        level = below


def _by_prefix(
    path: tuple[str, ...], tensors: dict[str, Tensor], names: Collection[str], depth: int
) -> Iterator[Candidate]:
    """Yield a mapping's tensors without what stands before most of a network's names."""
    if not any(map(INNER.search, names)):
        unwrapped = {INNER.sub("", name): value for name, value in tensors.items()}
        tensors = unwrapped if len(unwrapped) == len(tensors) else tensors
    shared: dict[str, set[str]] = {}  # the network's names behind each prefix
    for name in tensors:
        pieces = name.rsplit(".", depth)[-depth:]
        for k in range(len(pieces)):
            end = ".".join(pieces[k:])
            if end in names:
                shared.setdefault(name[: len(name) - len(end)], set()).add(end)
    counts = {p: sum(not _is_counter(n) for n in ends) for p, ends in shared.items()}
    most = max(counts.values(), default=0)
    prefixes = [
        prefix
        for prefix, count in counts.items()
        if count == most or (2 * count > len(names) and _other_parts(prefix, shared, names))
    ] or [""]
    # What has few of the names does not fit; it is of use in a message alone.
    prefixes = prefixes[: PREFIXES if 2 * most > len(names) else 1]
    rest = sum(not name.startswith(tuple(prefixes)) for name in tensors)
    for prefix in prefixes:
        within = tuple(p for p in prefixes if p != prefix and p.startswith(prefix))
        chosen = {
            name[len(prefix) :]: name
            for name in tensors
            if name.startswith(prefix) and not name.startswith(within)
        }
        if not set(prefix.split(".")[:-1]) <= WRAPPERS and 4 * len(chosen) < rest:
            prefix, chosen = "", {name: name for name in tensors}
        parts = _other_parts(prefix, shared, names)
        left_out = set(parts.values())
        left_out |= {f for n, f in chosen.items() if n not in names and _is_beside(n, tensors[f])}
        chosen = {name: f for name, f in chosen.items() if f not in left_out} | parts
        taken = set(chosen.values())
        yield Candidate(
            path,
            prefix,
            {name: tensors[full] for name, full in chosen.items()},
            {name: value for name, value in tensors.items() if name not in taken},
            sum(name in names for name in chosen),
        )


def _other_parts(
    prefix: str, shared: Mapping[str, set[str]], names: Collection[str]
) -> dict[str, str]:
    """Return where a file has what most of a network lacks: its head.fc.* beside backbone.*.

    It is empty where they leave a choice, or leave out a name. Other parts have none of the names
    that are behind the prefix: what has them is another network.
    """
    first = shared.get(prefix, set())
    parent = prefix[: prefix[:-1].rfind(".") + 1]
    more: dict[str, str] = {}
    for other, ends in shared.items():
        if other.startswith(parent) and ends.isdisjoint(first):
            if not ends.isdisjoint(more):
                return {}
            more |= {name: other + name for name in ends}
    missing = [name for name in names if name not in first and not _is_counter(name)]
    return more if all(name in more for name in missing) else {}


def _is_beside(name: str, value: Tensor) -> bool:
    """Return whether a tensor among weights is none: a score, a mean of images, a loss's."""
    if LOSS.search(_snake_case(name.partition(".")[0])):
        return True
    few = fault(value) is None and value.numel() <= 3
    return few and ("." not in name or name.rpartition(".")[2] in STATISTICS)


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] == COUNTER


def find(
    content: Any, expected: Mapping[str, Tensor], path: Path, key: str, spare: tuple[str, ...] = ()
) -> Candidate:
    """Return what of a file fits a network, or what comes nearest where nothing does.

    A line says what was taken where there was a choice, and what of the same mapping was not.
    Names that begin as one of `spare` does, such as `head.`, do not matter.
    """
    choices = list(candidates(content, expected))
    if not choices:
        raise UserError.of(key, f"{path} holds no state dict")
    fitting = sorted((c for c in choices if fits(c, expected, spare)), key=lambda c: c.rank)
    if not fitting:
        return min(choices, key=lambda c: (any(differences(expected, c.tensors, spare)),
                                           -c.shared, -len(c.tensors), c.rank))  # fmt: skip
    best, *alternatives = fitting
    more = []
    if alternatives:
        places = [other.place for other in alternatives]
        more.append(f"{first_few(places)} {'fits' if len(places) == 1 else 'fit'} too")
    beside = [best, *(other for other in alternatives if other.path == best.path)]
    if unused := [name for name in best.others if all(name in c.others for c in beside)]:
        more.append(f"{first_few(unused)} beside it not")
    if more:
        say(f"{key}: taken from {path}: {best.place}; {'; '.join(more)}")
    return best


def unwrapped(candidate: Candidate) -> dict[str, Tensor]:
    """Return the tensors of a candidate; or where few of the names fit, all that stand with them.

    Of those, too, what wrappers put before every name is taken off.
    """
    if 2 * candidate.shared > len(candidate.tensors) + len(candidate.others):
        return candidate.tensors
    prefixed = {candidate.prefix + name: value for name, value in candidate.tensors.items()}
    tensors = prefixed | candidate.others
    while (first := next(iter(tensors)).partition(".")[0]) in WRAPPERS:
        if not all(name.startswith(f"{first}.") for name in tensors):
            break
        tensors = {name.removeprefix(f"{first}."): value for name, value in tensors.items()}
    return tensors


def fits(candidate: Candidate, expected: Mapping[str, Tensor], spare: tuple[str, ...] = ()) -> bool:
    """Return whether tensors have a network's names and shapes."""
    args = (expected, candidate.tensors, spare)
    return not any(differences(*args)) and not _misshapen(*args)


def differences(
    expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], spare: tuple[str, ...] = ()
) -> tuple[list[str], list[str]]:
    """Return the names that weights lack of a network's, and those that they have beyond them."""
    missing = sorted(n for n in expected.keys() - weights.keys() if not n.startswith(spare))
    unknown = sorted(n for n in weights.keys() - expected.keys() if not n.startswith(spare))
    return [n for n in missing if not _is_counter(n)], unknown


def _misshapen(
    expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], spare: tuple[str, ...] = ()
) -> list[str]:
    both = [n for n in expected if n in weights and not n.startswith(spare)]
    # What is no plain tensor may have no shape; it is refused for that.
    return [n for n in both if fault(weights[n]) is None and weights[n].shape != expected[n].shape]


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
    expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Path, key: str
) -> dict[str, Tensor]:
    """Return weights in the network's own dtypes, with its own counters where they lack them.

    Raises:
        UserError: if names, shapes or kinds of numbers differ from those of the network's tensors.
    """
    missing, unknown = differences(expected, weights)
    if missing or unknown:
        text = f"{path} is of another network: it lacks {first_few(missing)}"
        raise UserError.of(key, f"{text} and adds {first_few(unknown)}")
    for name, value in weights.items():
        check_kind(name, value, expected[name], path, key)
    if shapes := _misshapen(expected, weights):
        name = shapes[-1]
        shape, expected_shape = tuple(weights[name].shape), tuple(expected[name].shape)
        text = f"{path} is of another shape: {name} is {shape}, here {expected_shape}"
        heads = (weights[n].shape == (*shape[:1], *expected[n].shape[1:]) for n in shapes)
        if shape and expected_shape and all(heads):
            text = f"{path} was trained on {shape[0]} classes; the data has {expected_shape[0]}"
        raise UserError.of(key, text)
    # Detached by torch's own function: a pickle can give a tensor attributes that hide its methods.
    return {
        name: torch.Tensor.detach(weights[name]).to(value.dtype) if name in weights else value
        for name, value in expected.items()
    }


def check_kind(name: str, value: Tensor, expected: Tensor, path: Path, key: str) -> None:
    """Refuse a tensor that is not of dense numbers of the network's kind."""
    wrong, takes = fault(value), "dense numbers"
    if wrong is None and expected.is_floating_point():
        takes = "float32, float64, float16 or bfloat16"
        wrong = None if value.dtype in FLOATS else f"{value.dtype}"
    elif wrong is None and not expected.is_complex():
        takes = "whole numbers"
        # Averages of checkpoints have averages of counters, too.
        whole = not value.is_floating_point() or _is_counter(name)
        wrong = f"{value.dtype}" if value.is_complex() or not whole else None
    if wrong is not None:
        wrong = wrong.removeprefix("torch.")
        raise UserError.of(key, f"{path} holds {brief(name)} as {wrong}; takes {takes}")


def brief(name: str) -> str:
    """Return a name of a file as it may be shown: short, in one line."""
    return shortened(in_one_line(name), 80)


def first_few(names: Sequence[str], most: int = 3) -> str:
    """Return the first of names, and how many more there are."""
    shown = ", ".join(map(brief, names[:most])) or "nothing"
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
