"""Pictures, sent to whichever Lightning loggers take them."""

from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from lightning.pytorch.loggers import Logger
from PIL import Image

from mixkd.console import is_leader


def log_picture(loggers: Iterable[Logger], name: str, picture: Path | IO[bytes], step: int) -> None:
    """Send a PNG file to the loggers that take pictures, under a name."""
    for logger in loggers if is_leader() else []:
        if takes_pictures(logger):
            with Image.open(picture, formats=["PNG"]) as file:
                _send(logger, name, file.convert("RGB"), step)


def takes_pictures(logger: Logger) -> bool:
    """Return whether a logger has a way of showing pictures that is known here."""
    return any(
        hasattr(place, method)
        for place in (logger, getattr(logger, "experiment", None))
        for method in ("log_image", "add_image")
    )


def _send(logger: Any, name: str, image: Image.Image, step: int) -> None:
    if hasattr(logger, "log_image"):  # W&B's, and whichever others have it
        logger.log_image(name, [image], step=step)
    elif hasattr(logger.experiment, "add_image"):  # TensorBoard
        logger.experiment.add_image(name, np.asarray(image), step, dataformats="HWC")
    elif getattr(logger, "run_id", None) is not None:  # MLflow
        logger.experiment.log_image(logger.run_id, image, f"{name}/{step:08d}.png")
    else:  # Comet
        logger.experiment.log_image(image, name=name, step=step)
