"""Which files of a folder are images."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

IMAGE_EXTENSIONS = {
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif",
}  # fmt: skip


def image_files(
    folder: Path, under: str = "", above: frozenset[str] = frozenset()
) -> Iterator[tuple[str, Path]]:
    """Yield (name, path) of what has the name of an image in a folder and those below it.

    Links are followed, but never back into a folder that they are in. What is hidden is left out.

    Args:
        folder: where to look.
        under: put before each name.
        above: the real paths of the folders that this one is in.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] == ".":
                continue
            name = under + entry.name
            if _is(entry.is_dir):
                yield from image_files(Path(entry.path), f"{name}/", above | {real})
            elif os.path.splitext(entry.name)[1].lower() in IMAGE_EXTENSIONS:
                yield name, Path(entry.path)


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link that leads in a circle
        return False
