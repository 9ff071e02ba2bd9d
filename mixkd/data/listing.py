"""Which files of a folder are images, and what is left out: one rule for all that reads folders."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from mixkd.errors import shortened

# Pillow's names of the formats that are opened, whatever a file's name says, and what the names of
# such files end in. No others: Pillow starts programs for some (Ghostscript for EPS).
FORMATS = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif"),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
IMAGE_EXTENSIONS = frozenset(chain.from_iterable(FORMATS.values()))

# What file managers, storage devices and archives put beside a user's files. (Hidden ones, such as
# .DS_Store, ._0.jpg and .ipynb_checkpoints, begin with a dot.)
SYSTEM = frozenset({
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin",
    "recycler", "recycled", "system volume information", "found.000", "lost+found", "__macosx",
    "network trash folder", "temporary items", "icon\r", "thumbs.db", "ehthumbs.db",
    "ehthumbs_vista.db", "desktop.ini", "__pycache__", "_vti_cnf",
})  # fmt: skip

# Folders of previews that storage devices, catalogues and file managers make.
SYSTEM_FOLDER = re.compile(r"@.*|.*\.lrdata|[_-]*thumb(s|nails?)?")

MOST_KINDS = 8

# The words by which data sets call their splits.
SPLIT_WORDS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validate", "validation", "dev", "devel", "development", "eval",
            "evaluate", "evaluation", "holdout", "heldout"),
    "test": ("test", "tests", "testing", "tst"),
}  # fmt: skip
FILLERS = {"", "set", "data", "dataset", "image", "images", "img", "imgs", "split"}


@dataclass
class LeftOut:
    """What is not read of some folders: how many entries of each kind, and an example."""

    kinds: Counter[str] = field(default_factory=Counter)
    example: str = ""

    def add(self, kind: str, name: str) -> None:
        """Count an entry."""
        self.kinds[kind] += 1
        self.example = self.example or name

    def include(self, other: "LeftOut") -> None:
        """Count what another has counted."""
        self.kinds += other.kinds
        self.example = self.example or other.example

    def __str__(self) -> str:
        """Return such as `3 .avif, 1 hidden, such as 'train/red/0.avif'`; "" where all is read."""
        if not self.kinds:
            return ""
        shown = self.kinds.most_common(MOST_KINDS)
        parts = [f"{count:,} {kind}" for kind, count in shown]
        if (rest := self.kinds.total() - sum(count for _, count in shown)) > 0:
            parts.append(f"{rest:,} others")
        return f"{', '.join(parts)}, such as {shortened(repr(self.example))}"


def image_files(
    folder: Path,
    under: str = "",
    above: frozenset[str] = frozenset(),
    left_out: LeftOut | None = None,
    states: dict[str, list[int]] | None = None,
) -> Iterator[tuple[str, Path]]:
    """Yield (name, path) of what has the name of an image in a folder and those below it.

    Links are followed, but never back into the folders that they are in, whose real paths are
    `above`. `under` is put before each name, everything else is counted by `left_out`, and the
    state of each folder before it is listed goes into `states`.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    if states is not None:
        states[os.path.abspath(folder)] = state_of(folder)
    with os.scandir(folder) as entries:
        for entry in entries:
            name = under + entry.name
            try:
                is_folder = entry.is_dir()
            except OSError:  # a link that leads in a circle
                is_folder = False
            if (kind := _passed_over(entry.name, is_folder)) is not None:
                if left_out is not None:
                    left_out.add(kind, name)
            elif is_folder:
                below = Path(entry.path)
                yield from image_files(below, f"{name}/", above | {real}, left_out, states)
            else:
                yield name, Path(entry.path)


def state_of(path: str | Path) -> list[int]:
    """Return what tells whether a file or a folder has changed; nothing where it cannot be known.

    Its size in bytes, times of modification and of change in ns, and inode.
    """
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def class_folders(folder: Path, left_out: LeftOut | None = None) -> tuple[str, ...]:
    """Return the names of the folders in a folder, sorted; hidden and a system's own left out.

    Everything else, images in no folder of a class among it, is counted by `left_out`.
    """
    names = []
    for path in folder.iterdir():
        is_folder = path.is_dir()
        kind = _passed_over(path.name, is_folder)
        if kind is None and is_folder:
            names.append(path.name)
        elif left_out is not None:
            left_out.add(kind or "in no class folder", f"{folder.name}/{path.name}")
    return tuple(sorted(names))


def split_meant(name: str) -> str | None:
    """Return the split that a folder's name stands for elsewhere, such as val for `valid`."""
    parts = re.findall("[a-z]+", name.lower())
    kept = {re.sub("(?<=.)(set|data)$", "", word) for word in parts} - FILLERS
    word = kept.pop() if len(kept) == 1 else ""
    return next((split for split, words in SPLIT_WORDS.items() if word in words), None)


def renamings(root: Path, splits: tuple[str, ...]) -> list[str]:
    """Return what to rename of a folder's folders so that they are read, such as `valid/ to val/`.

    Only those for a split that is not there; of folders of `train/`'s classes, or of images where
    there is no such folder.
    """
    classes = {*class_folders(root / "train")} if (root / "train").is_dir() else set()
    renaming = []
    for name in class_folders(root):
        split = split_meant(name)
        if split is None or split not in splits or name in splits or (root / split).is_dir():
            continue
        inner = _open_folders(root / name)
        if {*inner} & classes if classes else any(_holds_images(root / name / i) for i in inner):
            renaming.append(f"{name}/ to {split}/")
    return renaming


def unread_folders(root: Path, splits: tuple[str, ...]) -> list[str]:
    """Return the folders beside the splits that hold images, or folders of images."""
    return [
        name
        for name in class_folders(root)
        if name not in splits
        and any(_holds_images(root / name / inner) for inner in ("", *_open_folders(root / name)))
    ]


def count_stray(root: Path, left_out: LeftOut) -> None:
    """Count the images that lie beside the splits, in none of them."""
    for path in sorted(root.iterdir()):
        if path.is_file() and _passed_over(path.name, is_folder=False) is None:
            left_out.add("in no split", path.name)


def to_rename(renaming: list[str], more: str = "") -> str:
    """Return the end of a message: what to rename, if anything."""
    return f"; rename {', '.join(renaming)}{more}" if renaming else ""


def _open_folders(folder: Path) -> tuple[str, ...]:
    """Return the class folders of a folder that we may look into; none of others."""
    return class_folders(folder) if os.access(folder, os.R_OK | os.X_OK) else ()


def _holds_images(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK) and any(
        _passed_over(path.name, is_folder=False) is None and not path.is_dir()
        for path in folder.iterdir()
    )


def _passed_over(name: str, is_folder: bool) -> str | None:
    """Return what kind of thing is left out; None for a folder to look into, or an image."""
    if name.casefold() in SYSTEM or (is_folder and SYSTEM_FOLDER.fullmatch(name.casefold())):
        return "of the system"
    if name[0] == ".":
        return "hidden"
    extension = os.path.splitext(name)[1].lower()
    if is_folder or extension in IMAGE_EXTENSIONS:
        return None
    return shortened(extension, 12) if extension.isprintable() and extension else "of no extension"
