"""Files that may be a stranger's are read in bounded time and memory, and from their folder alone.

A run directory, an export, a study or a scale may come from anybody: a file in it may be a link to
another place of this disk, a pipe that never ends, or text that takes gigabytes once it is read.
"""

import csv
import io
import json
import os
import stat
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import yaml

# Bytes: many times what mixkd writes.
MOST = {".json": 2**23, ".yaml": 2**20, ".yml": 2**20, ".csv": 2**22}
MOST_OTHER = 2**26
MOST_CELLS = 2**20  # of a CSV file
MOST_NODES = 50_000  # of a YAML file, where aliases stand for what they repeat
DEEPEST = 50  # mappings and lists within one another
LARGEST = 2**64  # of whole numbers, in size


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value of a file is a number, and a finite one."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


class Damaged(ValueError):
    """A file that cannot be used, and why in one line."""

    def __init__(self, path: Path, why: object) -> None:
        self.path, self.why = path, " ".join(str(why).split())
        super().__init__(f"{path} is damaged: {self.why}")


def opened(path: Path, within: Path | None = None) -> BinaryIO:
    """Open a regular file of the folder `within`, or else of the one that its path names.

    Raises:
        FileNotFoundError: if there is none.
        Damaged: if it is no regular file, or a link that leads out of the folder.
    """
    try:
        real = refuse_link_out(path, within)
        if stat.S_ISREG(os.stat(real).st_mode):  # opening anything else may wait, or do something
            handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            file = os.fdopen(handle, "rb")
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return file
            file.close()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(*error.args) from error
    except OSError as error:
        raise Damaged(path, error.strerror) from error
    raise Damaged(path, "it is no regular file")


def refuse_link_out(path: Path, within: Path | None = None) -> str:
    """Return where a file really is; raise as `opened` does."""
    folder = Path(os.path.realpath(path.parent if within is None else within))
    places = [folder]
    if folder.parent.name == "snapshots":  # a download of the Hub's: its files are links to these
        places.append(folder.parent.parent / "blobs")
    try:
        real = os.path.realpath(path, strict=True)
    except ValueError as error:
        raise Damaged(path, error) from error
    if not any(Path(real).is_relative_to(place) for place in places):
        raise Damaged(path, "it is a link out of its folder")
    return real


def read_bytes(path: Path, within: Path | None = None) -> bytes:
    """Return what a file holds; refuse one that is too large as `opened` does others."""
    most = MOST.get(path.suffix, MOST_OTHER)
    with opened(path, within) as file:
        content = file.read(most + 1) if os.fstat(file.fileno()).st_size <= most else None
    if content is None or len(content) > most:
        raise Damaged(path, f"it is larger than {most / 2**20:g} MiB")
    return content


def read_text(path: Path, within: Path | None = None) -> str:
    """Return what a file of text holds; refuse what is not UTF-8 as `read_bytes` does others."""
    try:
        return read_bytes(path, within).decode()
    except UnicodeDecodeError as error:
        raise Damaged(path, error) from error


def read_value(path: Path, within: Path | None = None, any_number: bool = False) -> Any:
    """Return the plain values that a JSON or YAML file holds, by its name.

    What is deeper, larger or of other kinds than settings or metrics is refused, and whole numbers
    beyond 64 bits unless `any_number`.
    """
    text = read_text(path, within)
    try:
        if path.suffix == ".json":
            value = json.loads(text)
        else:
            _refuse_bomb(text)
            value = yaml.load(text, _Loader)
        _refuse_absurd(value, any_number)
    except RecursionError as error:
        raise Damaged(path, f"it is nested more than {DEEPEST} deep") from error
    except (ValueError, ArithmeticError, yaml.YAMLError) as error:
        raise Damaged(path, error) from error
    return value


def read_mapping(
    path: Path, within: Path | None = None, any_number: bool = False
) -> dict[str, Any]:
    """Return the mapping that a JSON or YAML file holds; see `read_value`."""
    value = read_value(path, within, any_number)
    if not isinstance(value, dict):
        raise Damaged(path, "it holds no mapping")
    return value


def read_rows(path: Path, within: Path | None = None) -> list[dict[str, str | None]]:
    """Return the rows of a CSV file by its columns; None stands for what a line lacks."""
    rows: list[dict[str, str | None]] = []
    reader = csv.DictReader(io.StringIO(read_text(path, within), newline=""))
    try:
        columns = len(reader.fieldnames or ())
        for row in reader:
            row.pop(None, None)  # what there is beyond the columns
            rows.append(row)
            if len(rows) * columns > MOST_CELLS:
                raise Damaged(path, f"it has more than {MOST_CELLS:,} cells")
    except csv.Error as error:
        raise Damaged(path, error) from error
    return rows


def folders_with(names: Collection[str], root: Path) -> list[Path]:
    """Return the folders under a root, and the root, that hold any of some files, sorted.

    Links to folders are not followed, and folders that are closed to us are passed over.
    """
    matching: list[Path] = []
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                contents = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError:
            continue
        if any(name in names for name, _ in contents):
            matching.append(folder)
        waiting += [folder / name for name, is_folder in contents if is_folder]
    return sorted(matching)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Takes plain values alone; by libyaml, which is ten times as fast, where it is there."""

    def number(self, node: yaml.ScalarNode) -> int | float:
        if len(node.value) > 50:  # whole numbers of base 60 take long to read
            raise ValueError(f"it holds a number of {len(node.value):,} letters")
        kind = node.tag.rpartition(":")[2]
        value: int | float = getattr(self, f"construct_yaml_{kind}")(node)
        return value


_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
_Loader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in _PLAIN
} | dict.fromkeys(("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"), _Loader.number)


def _refuse_bomb(text: str) -> None:
    """Refuse YAML of too many values before any is made; an alias counts as what it repeats."""
    count, sizes = 0, dict[str, int]()
    around: list[tuple[str | None, int]] = []  # the anchor of each, and how many came before it
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = around.pop()
            if anchor is not None:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in [anchor for anchor, _ in around]:
                raise ValueError(f"*{event.anchor} is within what it stands for")
            count += sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            around.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
        if count > MOST_NODES:
            raise ValueError(f"it holds more than {MOST_NODES:,} values")
        if len(around) > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")


def _refuse_absurd(value: Any, any_number: bool) -> None:
    level: Sequence[Any] = [value]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for part in level:
            if isinstance(part, dict):
                inner += part.values()
            elif isinstance(part, list):
                inner += part
            elif isinstance(part, int) and abs(part) > LARGEST and not any_number:
                raise ValueError("it holds a whole number of more than 64 bits")
        if not inner:
            return
        level = inner
    raise ValueError(f"it is nested more than {DEEPEST} deep")
